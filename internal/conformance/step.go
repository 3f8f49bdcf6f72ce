package conformance

import (
	"encoding/json"
	"strconv"

	"github.com/leatbus/leat/bus"
)

// parseStep reads one line of a script.
func parseStep(v any) (step, error) {
	f := readFields("the step", v)
	direction := f.needText("direction")
	if f.err != nil {
		return nil, f.err
	}
	f.what = "the " + direction + " step"
	var s step
	switch direction {
	case "inbound":
		s = &inbound{from: f.needText("from"), message: f.need("message")}
	case "outbound":
		s = &outbound{to: f.needText("to"), expected: f.need("expected")}
	case "assert-no-outbound":
		s = &noOutbound{to: f.text("to")}
	case "close-channel":
		s = &closeChannel{channel: f.oneText("channel", "channelId", "from", "to", "id", "name")}
	case "local-call":
		trigger := f.need("trigger")
		if err := f.end(); err != nil {
			return nil, err
		}
		return parseTrigger(trigger)
	case "local-result":
		s = parseLocalResult(f)
	case "assert-local-listener":
		s = parseListenerCheck(f)
	default:
		return nil, notUnderstood("the direction %q", direction)
	}
	return s, f.end()
}

func parseLocalResult(f *fields) step {
	s := &localResult{expected: f.value("expected"), failure: f.value("expectedError")}
	if s.expected != (absent{}) && s.failure != (absent{}) {
		f.fail("has a result and an error")
	}
	if code, ok := s.failure.(string); ok {
		s.failure = map[string]any{"code": code}
	}
	return s
}

func parseListenerCheck(f *fields) step {
	s := &listenerCheck{event: f.needText("eventId"), payload: f.value("lastPayload"), runs: -1}
	runs := f.value("invocations")
	if runs == (absent{}) {
		if s.payload == (absent{}) {
			f.fail("asserts nothing")
		}
		return s
	}
	n, _ := runs.(json.Number)
	var err error
	if s.runs, err = strconv.Atoi(string(n)); err != nil || s.runs < 0 {
		f.fail("has %s for a number of invocations", render(runs))
	}
	return s
}

// kind is the type of the message, as far as it has one.
func (s *inbound) kind() bus.Type {
	object, _ := s.message.(map[string]any)
	t, _ := object["type"].(string)
	return bus.Type(t)
}
