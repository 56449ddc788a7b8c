"""What an exporter's error says, in a line."""

TELLING = ("No conversion rule found", "No ONNX function found")


def first_cause(error: BaseException) -> str:
    """The kind of the error that led to ``error``, and the line of its message that tells most."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip(" -\t") for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(TELLING)]
    return ": ".join([type(error).__name__, *(telling or lines)[:1]]).rstrip(".:")
