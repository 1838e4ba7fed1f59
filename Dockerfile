# The model server: KServe's Python server with TensorFlow and Keras, or with ONNX Runtime.
#
# The model is not in it. `metricgate publish` adds it as the last layer, at /model; by hand:
#   docker build --build-arg BASE=python:3.13-slim@sha256:… -t server .
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -v "$PWD/outputs/model:/model:ro" server
#
# It needs only itself, requirements/server-*.txt and src/metricgate/server, and builds with any engine since Docker 17.05.

# A Debian or Ubuntu with python3 (3.11 or newer) and its venv module. A tag moves: a release names the digest too.
ARG BASE=python:3.13-slim

# What the environment is made with; the same Python at the same place as in BASE. For Arm it needs gcc too: python:3.13
ARG BUILDER=${BASE}

FROM ${BUILDER} AS builder
# keras (also for a SavedModel) or onnx
ARG FORMAT=keras
# Another package index, and the certificates that it is trusted by. They stay in this stage.
ARG PIP_INDEX_URL
ARG PIP_CERT
COPY requirements/server-pip.txt requirements/server-${FORMAT}.txt src/metricgate/server/slim.py /build/
# All of it are wheels, but for Arm psutil: KServe holds it below the first version that has one. There the setuptools of the
# lock compiles it, without debugging information, which would name a folder that has another name each time. Bytecode holds sets
# in the order of their hashes. All in one step: an engine hashes what each leaves, here a gigabyte and more.
RUN python3 -m venv /build/pip \
 && pip() { /build/pip/bin/python -m pip --quiet --disable-pip-version-check "$@" \
      --require-hashes --no-deps --no-compile --no-cache-dir; } \
 && pip install --requirement /build/server-pip.txt \
 && python3 -m venv --without-pip /opt/venv \
 && awk '/^[a-z]/ {source = /^psutil==/} {print > (source ? "/build/source.txt" : "/build/wheels.txt")}' \
      "/build/server-${FORMAT}.txt" \
 && pip --python /opt/venv/bin/python install --only-binary :all: --requirement /build/wheels.txt \
 && CFLAGS=-g0 pip --python /opt/venv/bin/python install --no-build-isolation --requirement /build/source.txt \
 && packages="$(echo /opt/venv/lib/python3*/site-packages)" \
 && PYTHONHASHSEED=0 python3 /build/slim.py "$packages" \
 && echo /opt/metricgate > "$packages/metricgate.pth" \
 && find /opt/venv/bin -type f ! -name 'python*' -delete
COPY src/metricgate/server /opt/metricgate/server
RUN chmod -R u=rwX,go=rX /opt/metricgate \
 && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash /opt/metricgate

FROM ${BASE}
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/metricgate /opt/metricgate
# Nobody's number: it owns no file here, and needs to write none but in /tmp.
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 \
  CMD ["/opt/venv/bin/python", "-I", "-S", "/opt/metricgate/server/health.py"]
ENTRYPOINT ["/opt/venv/bin/python", "-I", "-m", "server"]
