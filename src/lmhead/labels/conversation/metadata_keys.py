"""Keys whose values are no text of a conversation: templates test them, translate them, or leave them out by right.

Everything else that a message, a block, a call or a schema holds has to stand in the render.
"""

from typing import Final

# Of a message, a block, and a call.
METADATA: Final = frozenset(
    {
        *("role", "name", "type", "id", "index", "object", "status", "phase", "model", "namespace", "caller"),
        *("tool_call_id", "tool_use_id", "call_id", "item_id", "server_label", "server_name", "is_error"),
        *("cache_control", "annotations", "citations", "logprobs", "signature", "thought_signature", "partial"),
        *("encrypted_content", "extra_content", "provider_specific_fields", "parsed", "parsed_arguments"),
        *("stop_reason", "stop_sequence", "finish_reason", "usage", "created_at", "created", "timestamp", "uuid"),
        *("metadata", "additional_kwargs", "response_metadata", "usage_metadata", "prefix"),
    }
)

# Blocks that are no text: a model of text has no features for them.
MEDIA: Final = frozenset(
    {
        *("image", "image_url", "input_image", "output_image", "image_file", "video", "video_url", "input_video"),
        *("audio", "audio_url", "input_audio", "output_audio", "file", "input_file", "container_upload"),
    }
)
TEXTS: Final = frozenset({"text", "input_text", "output_text"})
THOUGHTS: Final = frozenset({"thinking", "reasoning", "redacted_thinking", "reasoning_text", "thought"})
CALLS: Final = frozenset(
    {"tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "function_call", "custom_tool_call"}
)

# Of a tool's schema: keywords that a template translates into its own, and rules that it may leave out.
KEYWORDS: Final = frozenset(
    {
        *("type", "$schema", "$id", "$ref", "$comment", "title", "strict", "required", "nullable", "deprecated"),
        *("format", "pattern", "readOnly", "writeOnly", "additionalProperties", "unevaluatedProperties"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "contentEncoding"),
        *("contentMediaType", "cache_control", "defer_loading", "id", "version", "propertyOrdering"),
    }
)
NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
