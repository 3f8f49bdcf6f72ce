package payload_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

var sumData = []byte(`{"a":7,"b":11}`)

func BenchmarkDecodeStrict(b *testing.B) {
	p := typeOf[sum](b)
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v sum
			if err := p.DecodeStrict(sumData, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tolerant", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v sum
			if err := p.Decode(sumData, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v sum
			if err := json.Unmarshal(sumData, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		v := sum{7, 11}
		for b.Loop() {
			if _, err := payload.Encode(&v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		v := sum{7, 11}
		for b.Loop() {
			if _, err := json.Marshal(&v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	one, many := compiled(b, typeOf[sum](b)), compiled(b, typeOf[[]sum](b))
	list := strings.TrimSuffix(strings.Repeat(`{"a":7,"b":11},`, 10_000), ",")
	for _, bc := range []struct {
		name string
		*payload.Schema
		data string
	}{{"fits", one, `{"a":7,"b":11}`}, {"fails", one, `{"a":7,"b":"x"}`}, {"many", many, "[" + list + "]"}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.Equal(b, bc.name != "fails", bc.Validate(context.Background(), []byte(bc.data)) == nil)
			}
		})
	}
}
