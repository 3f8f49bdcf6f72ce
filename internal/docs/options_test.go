package docs_test

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var isOptions = regexp.MustCompile(`(Options|Config|Channel|Credentials)$`)

// TestOptionsAreThoseOfTheCode compares docs/reference/options.md with the code: each exported struct of options has a section,
// with a row for each field, its type, and the number that is its default.
func TestOptionsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/reference/options.md")
	for _, dir := range published {
		byDefault := defaults(t, dir)
		for name, fields := range structs(t, dir, isOptions.MatchString) {
			title := path.Base(dir) + "." + name
			text, found := section(page, "## "+title)
			assert.True(t, found, "no section %s", title)
			var want, got []string
			for _, f := range fields {
				want = append(want, "`"+f.name+"` `"+f.typ+"`")
			}
			table := rows(text)
			for _, row := range table {
				got = append(got, row[0]+" "+row[1])
			}
			if !assert.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), title) {
				continue
			}
			for i, f := range fields {
				shown := table[i][2]
				if value, has := byDefault[name+"."+f.name]; has {
					assert.Equal(t, value, shown, "default of %s.%s", title, f.name)
				} else {
					assert.NotRegexp(t, `\d`, shown, "%s.%s has no such default in the code", title, f.name)
				}
			}
		}
	}
}

// defaults returns the numbers and constant texts that a package gives to fields of its options, as the page shows them, by
// Type.Field. They are found where a field is assigned a constant: directly, over orDefault and the like, or from a table of
// {"Field", &o.Field, value}.
// What commands.Config hands on to bus.Options has the default that it has there.
func defaults(t *testing.T, dir string) map[string]string {
	t.Helper()
	_, files := parse(t, dir)
	constants := make(map[string]ast.Expr)
	for _, f := range files {
		for n := range ast.Preorder(f) {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == len(spec.Names) {
				for i, name := range spec.Names {
					constants[name.Name] = spec.Values[i]
				}
			}
		}
	}
	found := make(map[string]string)
	if dir == "commands" {
		for name, value := range defaults(t, "bus") {
			if name, ok := strings.CutPrefix(name, "Options."); ok {
				found["Config."+name] = value
			}
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			options := parameters(fn)
			for n := range ast.Preorder(fn) {
				target, value := assignment(n)
				if target == nil {
					continue
				}
				of, ok := target.X.(*ast.Ident)
				if !ok || options[of.Name] == "" {
					continue
				}
				if text, ok := evaluate(value, constants, strings.HasSuffix(target.Sel.Name, "Bytes")); ok {
					found[options[of.Name]+"."+target.Sel.Name] = text
				}
			}
		}
	}
	return found
}

// parameters returns the receiver, the parameters and the declared variables of fn that are options, by name.
func parameters(fn *ast.FuncDecl) map[string]string {
	lists := []*ast.FieldList{fn.Recv, fn.Type.Params}
	for n := range ast.Preorder(fn) {
		if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil {
			lists = append(lists, &ast.FieldList{List: []*ast.Field{{Names: v.Names, Type: v.Type}}})
		}
	}
	all := make(map[string]string)
	for _, list := range lists {
		if list == nil {
			continue
		}
		for _, p := range list.List {
			typ := p.Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if e, ok := typ.(*ast.Ellipsis); ok {
				typ = e.Elt
			}
			name, ok := typ.(*ast.Ident)
			if !ok || !isOptions.MatchString(name.Name) {
				continue
			}
			for _, n := range p.Names {
				all[n.Name] = name.Name
			}
		}
	}
	return all
}

// assignment returns the field that n gives a value to, and the value.
func assignment(n ast.Node) (*ast.SelectorExpr, ast.Expr) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if len(n.Lhs) != 1 || len(n.Rhs) != 1 {
			return nil, nil
		}
		target, ok := n.Lhs[0].(*ast.SelectorExpr)
		if !ok {
			return nil, nil
		}
		value := n.Rhs[0]
		if call, ok := value.(*ast.CallExpr); ok && len(call.Args) > 1 {
			if name, ok := call.Fun.(*ast.Ident); ok && (name.Name == "max" || name.Name == "min") { // max(…Or("Field", o.Field, value), …)
				inner, ok := call.Args[0].(*ast.CallExpr)
				if !ok {
					return nil, nil
				}
				call = inner
			}
			value = call.Args[len(call.Args)-1]
		}
		return target, value
	case *ast.IfStmt: // if o.Field == 0 { return value }
		unset, ok := n.Cond.(*ast.BinaryExpr)
		if !ok || unset.Op != token.EQL || len(n.Body.List) != 1 {
			return nil, nil
		}
		target, ok := unset.X.(*ast.SelectorExpr)
		if result, returns := n.Body.List[0].(*ast.ReturnStmt); ok && returns && len(result.Results) == 1 {
			return target, result.Results[0]
		}
	case *ast.CompositeLit: // {"Field", &o.Field, value}
		if len(n.Elts) != 3 {
			return nil, nil
		}
		if at, ok := n.Elts[1].(*ast.UnaryExpr); ok && at.Op == token.AND {
			if target, ok := at.X.(*ast.SelectorExpr); ok {
				return target, n.Elts[2]
			}
		}
	}
	return nil, nil
}

// evaluate returns a constant as the page shows it. Zero is no default.
func evaluate(e ast.Expr, constants map[string]ast.Expr, size bool) (string, bool) {
	if name, ok := e.(*ast.Ident); ok && constants[name.Name] != nil {
		e = constants[name.Name]
	}
	text := types.ExprString(e)
	long := strings.Contains(text, "time.")
	text = strings.NewReplacer("time.Hour", "3600e9", "time.Minute", "60e9", "time.Second", "1e9", "time.Millisecond", "1e6").Replace(text)
	v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text)
	if err != nil || v.Value == nil {
		return "", false
	}
	if v.Value.Kind() == constant.String {
		return `"` + constant.StringVal(v.Value) + `"`, constant.StringVal(v.Value) != ""
	}
	n, exact := constant.Int64Val(constant.ToInt(v.Value))
	switch {
	case !exact || n == 0:
		return "", false
	case long && n < int64(time.Second):
		return count(n/1e6) + " ms", true
	case long:
		return duration(n), true
	case size:
		return bytes(n), true
	}
	return count(n), true
}

func TestDefaultsAreFound(t *testing.T) {
	t.Parallel()
	got := defaults(t, "bus")
	assert.Equal(t, "8,192", got["Options.QueueSize"])
	assert.Equal(t, "64 MiB", got["Options.QueueBytes"])
	assert.Equal(t, "30 s", got["Options.RequestTTL"])
	assert.Equal(t, "262,144", defaults(t, "bus/dedupe")["TTLStoreOptions.MaxKeys"])
	assert.Equal(t, "30 s", defaults(t, "commands")["Config.RequestTTL"])
	assert.Equal(t, "8,192", defaults(t, "events")["ListenOptions.QueueSize"])
	assert.Equal(t, "2 s", defaults(t, "pairing")["JoinOptions.Heartbeat"])
	assert.Equal(t, "100 ms", defaults(t, "bus/memory")["Options.InitialBackoff"])
	assert.Equal(t, "24 h", defaults(t, "brokers")["RepliesOptions.TTL"])
}
