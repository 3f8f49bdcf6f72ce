package commands

import (
	"context"
	"fmt"
	"reflect"
	"unicode"
	"unicode/utf8"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// RegisterService registers every exported method of service, which must each
// have the form
//
//	func(ctx context.Context, req Req) (Res, error)
//
// as the command prefix.method, the method's first letter in lower case:
// RegisterService(ctx, r, "math", &Math{}) registers Add as "math.add". An
// empty prefix leaves it and the dot out. Typed calls with the same types are
// as cheap as those of [Register].
//
// A method that does not fit is an error that names it, and so is a service
// without methods; then, and when any registration fails, none is registered.
func RegisterService(ctx context.Context, r *Registry, prefix string, service any) error {
	cmds, err := serviceCommands(prefix, service)
	if err != nil {
		return fmt.Errorf("register service %q: %w", prefix, err)
	}
	for i, cmd := range cmds {
		if err := r.register(ctx, cmd); err != nil {
			for _, done := range cmds[:i] {
				r.Unregister(done.def.ID)
			}
			return fmt.Errorf("register service %q: %w", prefix, err)
		}
	}
	return nil
}

func serviceCommands(prefix string, service any) ([]*command, error) {
	v := reflect.ValueOf(service)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("service is nil")
	}
	var cmds []*command
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		cmd, err := methodCommand(prefix, name, v.Method(i))
		if err != nil {
			return nil, fmt.Errorf("method %s.%s: %w", v.Type(), name, err)
		}
		cmds = append(cmds, cmd)
	}
	if len(cmds) == 0 {
		return nil, fmt.Errorf("%s has no exported methods (is it a pointer that has them?)", v.Type())
	}
	return cmds, nil
}

func methodCommand(prefix, name string, m reflect.Value) (*command, error) {
	t := m.Type()
	if t.IsVariadic() || t.NumIn() != 2 || t.In(0) != contextType || t.NumOut() != 2 || t.Out(1) != errorType {
		return nil, fmt.Errorf("want func(context.Context, Req) (Res, error), have %s", t)
	}
	req, err := payload.For(t.In(1))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	res, err := payload.For(t.Out(0))
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	def := bus.Definition{ID: methodID(prefix, name)}
	if req.Schema() != nil || res.Schema() != nil {
		def.Schema = &bus.Schema{Request: req.Schema(), Response: res.Schema()}
	}
	return &command{def: def, typed: m.Interface(), handler: reflected(m, req)}, nil
}

func methodID(prefix, name string) string {
	first, size := utf8.DecodeRuneInString(name)
	name = string(unicode.ToLower(first)) + name[size:]
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// reflected is [Command.encoded] for a method whose types are known only now.
func reflected(m reflect.Value, req *payload.Type) handler {
	kind := m.Type().In(1)
	return func(ctx context.Context, in payload.Content, _ bool, inv *invocation) (out payload.Content, err error) {
		arg := reflect.New(kind)
		if err := req.DecodeStrict(in.JSON(), arg.Interface()); err != nil {
			return out, invalid(err)
		}
		inv.runs()
		results := m.Call([]reflect.Value{reflect.ValueOf(ctx), arg.Elem()})
		if err, _ := results[1].Interface().(error); err != nil {
			return out, err
		}
		if out.Body, err = payload.Encode(results[0].Interface()); err != nil {
			return out, fmt.Errorf("the handler's result does not encode: %w", err)
		}
		return out, nil
	}
}
