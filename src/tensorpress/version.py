"""The version of this package, as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("tensorpress")
except PackageNotFoundError:
    VERSION = "unknown"
