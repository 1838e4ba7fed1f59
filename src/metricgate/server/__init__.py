"""The model server that goes into the image: one model, the Open Inference Protocol and TensorFlow Serving's REST form.

It is built on KServe's Python server and imports nothing else of metricgate: only this folder is copied into the image.
"""
