package conformance

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/leatbus/leat/commands"
)

// answer is what a command returns: a literal, in which each {"$expr": …} is
// replaced by its value.
type answer struct {
	parts any // JSON values and expressions, or absent
}

// parseAnswer compiles what stands under "returns".
func parseAnswer(v any) (answer, error) {
	parts, err := compileAnswer(v)
	return answer{parts}, err
}

func compileAnswer(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if text, ok := v["$expr"]; ok {
			s, isText := text.(string)
			if !isText || len(v) > 1 {
				return nil, notUnderstood("the expression %s", render(v))
			}
			return parseExpression(s)
		}
		if name, err := matcherOf(v); err != nil || name != "" {
			return nil, notUnderstood("%s as what a command returns", render(v))
		}
		out := make(map[string]any, len(v))
		for name, e := range v {
			part, err := compileAnswer(e)
			if err != nil {
				return nil, err
			}
			out[name] = part
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			part, err := compileAnswer(e)
			if err != nil {
				return nil, err
			}
			out[i] = part
		}
		return out, nil
	}
	return v, nil
}

// evaluate returns the result for a request; either may be absent.
func evaluate(part, request any) (any, error) {
	switch part := part.(type) {
	case expression:
		return part(request)
	case map[string]any:
		out := make(map[string]any, len(part))
		for name, e := range part {
			v, err := evaluate(e, request)
			if err != nil {
				return nil, err
			}
			if v != (absent{}) {
				out[name] = v
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(part))
		for i, e := range part {
			v, err := evaluate(e, request)
			if err != nil {
				return nil, err
			}
			if v != (absent{}) {
				out[i] = v
			}
		}
		return out, nil
	}
	return part, nil
}

// respond computes the encoded result for an encoded request.
func (a answer) respond(request json.RawMessage) (json.RawMessage, error) {
	v, err := decodeValue(request)
	if err != nil {
		return nil, err
	}
	result, err := evaluate(a.parts, v)
	if err != nil {
		return nil, fmt.Errorf("the script's command: %w", err)
	}
	return encodeValue(result)
}

// handler is a command that gives the answer.
func (a answer) handler() commands.RawHandler {
	return func(_ context.Context, request json.RawMessage) (json.RawMessage, error) { return a.respond(request) }
}
