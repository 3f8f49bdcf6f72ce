package docs_test

import (
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// published are the packages whose options, counters and log lines the documentation has.
var published = []string{"bus", "bus/dedupe", "bus/memory", "commands", "events", "pairing", "pairing/fleet", "brokers"}

// parse returns the files of a package, without its tests.
func parse(t *testing.T, dir string) (*token.FileSet, []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	require.NoError(t, err)
	paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasSuffix(p, "_test.go") })
	require.NotEmpty(t, paths)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	return fset, files
}

// field is an exported field of a struct.
type field struct{ name, typ string }

// structs returns the exported fields of the exported structs of a package for which want is true, by name.
func structs(t *testing.T, dir string, want func(name string) bool) map[string][]field {
	t.Helper()
	fset, files := parse(t, dir)
	all := make(map[string][]field)
	for _, f := range files {
		for n := range ast.Preorder(f) {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() || !want(spec.Name.Name) {
				continue
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, fl := range s.Fields.List {
				var typ strings.Builder
				require.NoError(t, printer.Fprint(&typ, fset, fl.Type))
				for _, name := range fl.Names {
					if name.IsExported() {
						all[spec.Name.Name] = append(all[spec.Name.Name], field{name.Name, typ.String()})
					}
				}
			}
		}
	}
	return all
}

// section returns what stands under a heading of a page, down to the next one.
func section(page, heading string) (text string, found bool) {
	_, text, found = strings.Cut(page, "\n"+heading+"\n")
	text, _, _ = strings.Cut(text, "\n#")
	return text, found
}

// rows returns the cells of the table's rows, without its head.
func rows(text string) (all [][]string) {
	head := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			head = true
		case strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "| --"):
			head = false
		case !head:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all
}
