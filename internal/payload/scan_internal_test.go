package payload

import (
	"reflect"
	"testing"
)

type pair struct {
	A int            `json:"a"`
	B int            `json:"b"`
	M map[string]int `json:"m,omitempty"`
}

func TestScanAllocatesNothing(t *testing.T) {
	p, err := For(reflect.TypeFor[pair]())
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{`{"a":7,"b":11}`, `{"b":7,"a":11}`, `{"\u0062":1,"\u0061":2}`, `{"a":7,"b":11,"m":{"x":1},"other":[{"a":"\""}]}`} {
		payload := []byte(data)
		if n := testing.AllocsPerRun(100, func() {
			if check(p.root, payload, true) != nil {
				t.Fail()
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", data, n)
		}
	}
}

// BenchmarkScan measures the scan by itself, which no caller can.
func BenchmarkScan(b *testing.B) {
	t, err := For(reflect.TypeFor[pair]())
	if err != nil {
		b.Fatal(err)
	}
	data := []byte(`{"a":7,"b":11}`)
	b.ReportAllocs()
	for b.Loop() {
		if check(t.root, data, true) != nil {
			b.Fatal("fault")
		}
	}
}
