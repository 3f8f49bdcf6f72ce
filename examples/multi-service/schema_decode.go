package main

import (
	"bytes"
	"encoding/json"
)

// UnmarshalJSON also takes true, which is a schema too, and false, which
// nothing fits.
func (s *schema) UnmarshalJSON(data []byte) error {
	*s = schema{}
	if data = bytes.TrimSpace(data); len(data) == 0 || data[0] != '{' {
		return nil
	}
	type plain schema
	return json.Unmarshal(data, (*plain)(s))
}

// oneOrMore is a string, or an array of them.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// properties keeps the order in which they were written, which is the one in
// which to ask.
type properties []property

func (ps *properties) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if brace, err := d.Token(); err != nil || brace != json.Delim('{') {
		return err // what is no object names no properties
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		p := property{}
		p.name, _ = name.(string)
		if err := d.Decode(&p.schema); err != nil {
			return err
		}
		*ps = append(*ps, p)
	}
	return nil
}
