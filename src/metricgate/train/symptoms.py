"""What libraries say when something goes wrong, and what to do about it. The most specific come first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SMALLER = "use a smaller batch"


@dataclass(frozen=True)
class Symptom:
    """Words that tell a cause.

    Attributes:
        kind: The cause, for programs.
        pattern: The expression that is looked for, in an exception that ended the program or, without one, in the last lines.
        sentence: What happened; goes on after "the training of seed 0". Its fields are the pattern's groups.
        advice: What to do, with the same fields.
        retryable: Whether starting it again can help.
        within: How many of the last lines may tell it where no exception does; 0 where only an exception does, because
            programs say the same when they get along without.
    """

    kind: str
    pattern: str
    sentence: str
    advice: str
    retryable: bool = False
    within: int = 5


@dataclass(frozen=True)
class Finding:
    """A symptom that was found.

    Attributes:
        symptom: Which.
        match: Where.
    """

    symptom: Symptom
    match: re.Match[str]

    @property
    def sentence(self) -> str:
        """What happened."""
        return self.symptom.sentence.format_map(self._fields)

    @property
    def advice(self) -> str:
        """What to do."""
        return self.symptom.advice.format_map(self._fields)

    @property
    def _fields(self) -> dict[str, str]:
        fields = {name: value or "" for name, value in self.match.groupdict().items()}
        return {**fields, "package": package(fields["module"])} if "module" in fields else fields


def _symptom(kind: str, *patterns: str, sentence: str, advice: str, retryable: bool = False, within: int = 5) -> Symptom:
    return Symptom(kind, "|".join(patterns), sentence, advice, retryable, within)


SYMPTOMS = (
    _symptom(
        "shared_memory",
        r"out of shared memory",
        r"unable to (?:write to file|open shared memory object) </?torch_\S+",
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Bus error",
        sentence="ran out of shared memory (/dev/shm), through which data workers hand over their batches",
        advice="give the container more of it (`options: --shm-size=8g` under `container` in the workflow),\n"
        "or load the data without workers: num_workers=0",
        within=20,
    ),
    _symptom(
        "disk_full",
        r"No space left on device",
        r"\bENOSPC\b",
        r"\[Errno (?:28|122)\]",
        r"Disk quota exceeded",
        sentence="found the disk full",
        advice="free the disk, write less (fewer checkpoints kept), or use a runner with a larger one",
        within=20,
    ),
    _symptom(
        "host_memory",
        r"ResourceExhaustedError[\s\S]*device:CPU:\d",
        r"OOM when allocating tensor[^\n]*(?:device:CPU:\d|by allocator cpu\b)",
        r"DefaultCPUAllocator: (?:can't|not enough) (?:allocate )?memory",
        r"^(?:[\w.]+\.)?_?(?:Array)?MemoryError\b",
        r"\bstd::bad_alloc\b",
        r"\[Errno 12\]|Cannot allocate memory",
        sentence="ran out of memory",
        advice=f"{_SMALLER}, load less of the data at once, or use a runner with more memory",
        within=20,
    ),
    _symptom(
        "gpu_memory",
        r"(?:CUDA|HIP|MPS backend|XPU) out of memory",
        r"\bCUDA error: out of memory",
        r"\bcudaErrorMemoryAllocation\b",
        r"\bCUDA_ERROR_OUT_OF_MEMORY\b",
        r"CU(?:BLAS|DNN|SOLVER|FFT)_STATUS_ALLOC_FAILED",
        r"^(?:torch\.(?:cuda\.)?)?OutOfMemoryError\b",
        r"^(?:[\w.]+\.)?ResourceExhaustedError\b[\s\S]*(?:OOM|[Oo]ut of memory|[Ff]ailed to allocate)",
        r"OOM when allocating tensor",
        r"RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate)",
        r"Resource exhausted: Out of memory",
        sentence="ran out of GPU memory",
        advice=f"{_SMALLER} and gather gradients over several, train in mixed precision\n"
        "(`keras: {{precision: mixed_bfloat16}}` under `train`), or use a GPU with more memory",
        within=20,
    ),
    _symptom(
        "nan",
        r"Invalid loss, terminating training",
        r"returned nan values in its \d+\w\w output",
        r"Tensor had (?:NaN|Inf)",
        r"FloatingPointError: invalid value \(nan\)",
        r"\b(?:[Nn]on-finite|[Nn]a[Nn]|NAN) (?:value (?:of|in) )?loss\b",
        r"\b[Ll]oss (?:is|was|became|has become) (?:nan|NaN)\b",
        sentence="got a loss that is not a number (NaN)",
        advice="lower the learning rate, clip the gradients, and look for NaN in the data; in mixed_float16, scale the loss",
    ),
    _symptom(
        "gpu_driver",
        r"CUDA driver version is insufficient",
        r"NVIDIA driver on your system is too old",
        r"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        r"driver/library version mismatch",
        r"no kernel image is available for execution",
        r"CUDNN_STATUS_(?:NOT_INITIALIZED|VERSION_MISMATCH|ARCH_MISMATCH)",
        r"cuDNN version incompatib",
        sentence="has packages that do not fit this machine's GPU or its driver",
        advice="update the driver of the runner, or install the build of the framework for the CUDA version that\n"
        "`nvidia-smi` names at its top",
        within=0,
    ),
    _symptom(
        "no_gpu",
        r"No CUDA GPUs are available",
        r"Found no NVIDIA driver on your system",
        r"no CUDA-capable device is detected",
        r"Torch not compiled with CUDA enabled",
        r"Unable to initialize backend '(?:cuda|gpu|rocm|tpu)'",
        r"invalid device ordinal",
        sentence="found no GPU, and wants one",
        advice="run the job where there is one (`runs-on`), say `gpus: 1` under `train`,\n"
        "or install the framework's build for GPUs",
        within=0,
    ),
    _symptom(
        "missing_module",
        r"ModuleNotFoundError: No module named '?(?P<module>[\w.]+)'?",
        sentence="can't import the module `{module}`",
        advice="install the package that has it, in the step before: pip install {package}",
    ),
    _symptom(
        "import_error",
        r"(?P<library>[\w./+-]+\.so[\w.]*): cannot open shared object file",
        r"version [`'](?P<version>[A-Z]\w+_[\d.]+)' not found",
        r"ImportError: (?P<said>[^\n]+)",
        r"undefined symbol: (?P<symbol>\w+)",
        sentence="can't import a package: {library}{version}{said}{symbol}",
        advice="the packages do not fit each other or the machine: install them anew from one lock file, and the\n"
        "system libraries that they name",
        within=0,
    ),
    _symptom(
        "address_in_use",
        r"[Aa]ddress already in use",
        r"\bEADDRINUSE\b",
        r"\[Errno 98\]",
        sentence="wanted a network port that another process has",
        advice="let the system choose a free one (torchrun --standalone, port 0) instead of a fixed number",
        retryable=True,
    ),
    _symptom(
        "network",
        r"Connection reset by peer|ConnectionResetError|RemoteDisconnected|IncompleteRead|ChunkedEncodingError",
        r"Temporary failure in name resolution|NameResolutionError",
        r"(?:[Cc]onnection|[Rr]ead|[Cc]onnect) timed out|ReadTimeout|ConnectTimeout|TimeoutError: \[Errno 110\]",
        r"ConnectionRefusedError|MaxRetryError|NewConnectionError|EndpointConnectionError|ConnectionError\b",
        r"HTTP Error (?:429|5\d\d)\b",
        r"\b5\d\d (?:Server Error|Service Unavailable|Bad Gateway|Internal Server Error|Gateway Time)",
        r"\b429 (?:Client Error|Too Many Requests)",
        r"^curl: \((?:5|6|7|18|28|35|52|55|56|92)\)",
        r"NCCL[^\n]*(?:remote process exited|Connection closed|Connection refused|timeout)",
        sentence="lost its connection over the network",
        advice="see whether the address in its last lines can be reached from the runner",
        retryable=True,
    ),
    _symptom(
        "missing_file",
        r"FileNotFoundError: (?:\[Errno 2\] )?[^\n]*?'(?P<path>[^'\n]+)'",
        r"can't open file '(?P<script>[^'\n]+)': \[Errno 2\]",
        r"NotFoundError[^\n]*?; No such file or directory",
        sentence="did not find a file: {path}{script}",
        advice="paths are relative to the root of the repository, where `run` starts;\n"
        "what isn't committed has to be fetched before, for example by `fetch` under `train`",
    ),
    _symptom(
        "permission",
        r"PermissionError: (?:\[Errno 13\] )?[^\n]*?'(?P<path>[^'\n]+)'",
        sentence="may not read or write {path}",
        advice="see who owns it: a job in a container, or an earlier one as root, may have made it",
        within=0,
    ),
)

# What these modules come in is not called like them.
PACKAGES = {
    "Crypto": "pycryptodome",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "git": "GitPython",
    "google.protobuf": "protobuf",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_probability": "tensorflow-probability",
    "yaml": "PyYAML",
}


def in_errors(errors: Sequence[str]) -> Finding | None:
    """The most specific symptom that one of some exceptions shows."""
    return _find(dict.fromkeys(SYMPTOMS, errors))


def in_lines(lines: Sequence[str]) -> Finding | None:
    """The most specific symptom that the last lines show, where no exception does."""
    return _find({symptom: lines[-symptom.within :] for symptom in SYMPTOMS if symptom.within})


def package(module: str) -> str:
    """The package to install for a module."""
    named = [name for name in PACKAGES if module == name or module.startswith(f"{name}.")]
    return PACKAGES[named[0]] if named else module.partition(".")[0].replace("_", "-")


def _find(texts: Mapping[Symptom, Sequence[str]]) -> Finding | None:
    # Compiled when they are needed: a training that goes well should not wait for a hundred expressions.
    found = ((symptom, re.search(symptom.pattern, text, re.MULTILINE)) for symptom, some in texts.items() for text in some)
    return next((Finding(symptom, match) for symptom, match in found if match), None)
