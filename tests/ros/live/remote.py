"""A node's lifecycle, parameters and services, asked for from outside."""

from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from fmgs_ros.srv import FilePath

from .harness import START_S, Participant

_TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class Remote:
    """One node of the graph."""

    def __init__(self, graph: Participant, name: str):
        self._graph, self._name = graph, name

    def change(self, *transitions: str) -> bool:
        """One after another; whether the last one succeeded."""
        requests = [ChangeState.Request(transition=Transition(id=_TRANSITIONS[name])) for name in transitions]
        return [self._call(ChangeState, "change_state", request).success for request in requests][-1]

    @property
    def state(self) -> str:
        return self._call(GetState, "get_state", GetState.Request()).current_state.label

    def set(self, name: str, value: Any) -> str | None:
        """Why the parameter was refused; None when it was taken."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self._call(SetParameters, "set_parameters", request).results
        return None if result.successful else result.reason

    def trigger(self, service: str) -> str:
        """What it says when it succeeds."""
        answer = self._call(Trigger, service, Trigger.Request())
        assert answer.success, answer.message
        return answer.message

    def file(self, service: str, path: Any) -> str:
        answer = self._call(FilePath, service, FilePath.Request(file_path=str(path)))
        assert answer.success, answer.message
        return answer.message

    def refused(self, service: str, path: Any) -> str:
        """What it says when it fails."""
        answer = self._call(FilePath, service, FilePath.Request(file_path=str(path)))
        assert not answer.success, answer.message
        return answer.message

    def _call(self, kind: type, service: str, request: Any) -> Any:
        return self._graph.call(kind, f"/{self._name}/{service}", request, START_S)
