"""ONNX exports of a whole graph's models, and the gate that int8 has to pass on labelled rows."""
