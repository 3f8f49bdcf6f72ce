package payload_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

// Validations that lead back to the schema by several ways, and what else makes one dear.
func TestRule24AValidationHasABudget(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	objects := func(depth int) string { return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) }
	for name, tc := range map[string]struct{ schema, data string }{
		"anyOf that fits":      {`{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`, nested(60)},
		"anyOf that does not":  {`{"anyOf":[{"items":{"$ref":"#"},"minItems":1},{"items":{"$ref":"#"},"minItems":1},{"type":"string"}]}`, nested(60)},
		"oneOf of objects":     {`{"oneOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}},"required":["b"]}]}`, objects(60)},
		"not and if":           {`{"if":{"items":{"$ref":"#"}},"then":{"items":{"$ref":"#"}},"not":{"not":{"items":{"$ref":"#"}}}}`, nested(60)},
		"contains and items":   {`{"items":{"$ref":"#"},"contains":{"$ref":"#"},"minContains":0}`, nested(60)},
		"a doubling in place":  {doubling(40), `1`},
		"unevaluated, pattern": {`{"patternProperties":{"^a":{"$ref":"#"},"a$":{"$ref":"#"}}}`, objects(60)},
	} {
		s, err := payload.CompileSchema(json.RawMessage(tc.schema))
		require.NoError(t, err, name)
		began := time.Now()
		err = s.Validate(context.Background(), []byte(tc.data))
		var e *payload.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, "it takes too many steps to validate", e.Error(), name)
		assert.Less(t, time.Since(began), 20*time.Second, name)

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		assert.ErrorIs(t, s.Validate(ctx, []byte(tc.data)), context.Canceled, name)
	}
}

// endingCtx ends when it has been looked at so often.
type endingCtx struct {
	context.Context
	looks int
}

func (c *endingCtx) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

func TestRule03TheEstimateHeedsItsContext(t *testing.T) {
	t.Parallel()
	s, err := payload.CompileSchema(json.RawMessage(`{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`))
	require.NoError(t, err)
	data := []byte("[" + strings.Repeat("1,", 100_000) + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "]")
	assert.ErrorContains(t, s.Validate(&endingCtx{t.Context(), 1 << 30}, data), "it takes too many steps")
	for _, looks := range []int{0, 1, 2, 10, 100} {
		assert.ErrorIs(t, s.Validate(&endingCtx{t.Context(), looks}, data), context.Canceled)
	}
}

// Elements of one hash to the library that are not equal: it compares each of them with all before.
func TestRule24UniqueItemsHaveABudget(t *testing.T) {
	t.Parallel()
	var list []string
	letters := strings.Repeat("a", 60)
	for i := range 59 {
		for j := i + 1; j < 59; j++ {
			for k := j + 1; k < 59; k++ {
				list = append(list, `["`+letters[:i]+`","`+letters[i:j]+`","`+letters[j:k]+`","`+letters[k:]+`"]`)
			}
		}
	}
	s, err := payload.CompileSchema(json.RawMessage(`{"uniqueItems":true}`))
	require.NoError(t, err)
	assert.EqualError(t, s.Validate(context.Background(), []byte("["+strings.Join(list, ",")+"]")), "it takes too many steps to validate")
}

// doubling is a chain of references each of which applies the next one twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/d","$defs":{`)
	for i := range n {
		next := `{"type":"integer"}`
		if i < n-1 {
			next = `{"$ref":"#/$defs/` + name(i+1) + `"}`
		}
		b.WriteString(`"` + name(i) + `":{"allOf":[` + next + `,` + next + `]},`)
	}
	return strings.TrimSuffix(b.String(), ",") + `}}`
}

func name(i int) string { return "d" + strings.Repeat("x", i) }

func TestRule24TheBudgetGrowsWithTheData(t *testing.T) {
	t.Parallel()
	s, err := payload.CompileSchema(json.RawMessage(`{"items":{"oneOf":[{"type":"string"},{"type":"integer","minimum":0},{"properties":{"a":{"type":"null"}},"required":["a"],"type":"object"}]}}`))
	require.NoError(t, err)
	list := strings.Repeat(`1,"a",{"a":null},`, 20_000)
	assert.NoError(t, s.Validate(context.Background(), []byte("["+strings.TrimSuffix(list, ",")+"]")), "what people write passes, however long")
	assert.ErrorContains(t, s.Validate(context.Background(), []byte("["+list+"-1]")), `field "[60000]": oneOf: did not validate`)
}

func TestRule24SchemasAreBounded(t *testing.T) {
	t.Parallel()
	_, err := payload.CompileSchema(json.RawMessage(`{"description":"` + strings.Repeat("x", 1<<20) + `"}`))
	assert.ErrorContains(t, err, "the limit is 1048576")
	deep := strings.Repeat(`{"items":`, 300) + `{}` + strings.Repeat("}", 300)
	_, err = payload.CompileSchema(json.RawMessage(deep))
	assert.ErrorContains(t, err, "nested too deeply")
}
