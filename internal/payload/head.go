package payload

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Head reads the members of a JSON object that are named in into, as far as they are strings and can be read: data may
// be cut off, or be no JSON behind them. Of a name that comes twice the first one counts.
func Head(data []byte, into map[string]*string) {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return
	}
	for found := 0; found < len(into); {
		name, err := d.ReadToken()
		if err != nil || name.Kind() != '"' {
			return
		}
		to := into[name.String()]
		if to == nil || *to != "" || d.PeekKind() != '"' {
			if d.SkipValue() != nil {
				return
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil {
			return
		}
		*to = value.String()
		found++
	}
}
