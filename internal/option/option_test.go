package option_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestNegativeNumbersAreRefusedByName tries each number of the options; a negative heartbeat has a meaning.
func TestNegativeNumbersAreRefusedByName(t *testing.T) {
	t.Parallel()
	each(t, func(o commands.Config) error {
		_, err := commands.NewRegistry(o)
		return err
	})
	each(t, func(o bus.Options) (err error) {
		defer func() { err = fmt.Errorf("%v", recover()) }()
		bus.New(o)
		return nil
	})
	each(t, func(o commands.Options) (err error) {
		defer func() { err = fmt.Errorf("%v", recover()) }()
		commands.Define[int, int]("x", "", o)
		return nil
	})
	each(t, func(o events.ListenOptions) error {
		_, err := events.NewHub(bus.New(bus.Options{})).ListenRaw("x", func(context.Context, string, json.RawMessage) {}, o)
		return err
	})
	each(t, func(o fleet.Options) error {
		ps := memory.New(memory.Options{})
		defer ps.Close()
		o.Namespace = "x"
		_, err := fleet.New(context.Background(), ps, ps, o)
		return err
	})
}

func each[T any](t *testing.T, try func(T) error) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	numbers := 0
	for f := range typ.Fields() {
		if k := f.Type.Kind(); k != reflect.Int && k != reflect.Int64 || !f.IsExported() {
			continue
		}
		numbers++
		var o T
		reflect.ValueOf(&o).Elem().FieldByIndex(f.Index).SetInt(-int64(time.Second))
		assert.ErrorContains(t, try(o), f.Name, "%v.%s", typ, f.Name)
	}
	assert.NotZero(t, numbers, typ)
}
