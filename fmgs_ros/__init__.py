"""fmgs_core as ROS 2 nodes. Beside this Python lie the generated interfaces, fmgs_ros.msg and fmgs_ros.srv."""

from pkgutil import extend_path

# The build puts msg/ and srv/ into the installed folder only; a source tree on sys.path would hide it.
__path__ = extend_path(__path__, __name__)
