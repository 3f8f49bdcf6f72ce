package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

func noLoader(*url.URL) (*jsonschema.Schema, error) {
	return nil, errors.New("remote references are refused")
}

// graph is a schema document with its references followed. It is built from what the library has read, not from the
// text: the library takes "$REF" for "$ref".
type graph struct {
	root      *node
	byPointer map[string]*node
	anchors   map[string]*node
	draft7    bool
	limits    limits
	document  any  // the text of root, parsed
	changed   bool // root is: see exact
}

// node is one schema of the document, with the schemas that it applies in turn.
type node struct {
	*jsonschema.Schema
	pointer string // from the root
	names   string // as the library's errors call it

	// To the same value. What one of anyOf or tried refuses need not be the end.
	all, anyOf, tried []*node
	dependent         map[string]*node // if there is a member of that name

	prefix                           []*node
	items, contains, unevaluated     *node
	properties                       map[string]*node
	patterns                         []pattern
	additional, leftOver, memberName *node

	fixed  int // steps of one application, beyond those that depend on the value
	words  int // bytes of its longest message, without the value
	insts  int // instructions of its own pattern
	uses   int // ways to get here from other schemas
	state  visit
	limits limits // of this and of what is applied to the same value
}

type pattern struct {
	*regexp.Regexp
	insts int
	*node
}

type visit uint8

const (
	unseen visit = iota
	open
	closed
)

// newGraph refuses what cannot be followed: an $id below the root, two anchors of one name, references that the
// library finds and the graph does not, and references that go in a circle without a step into the value. Validation would
// follow those until the stack overflows, which no recover can catch.
func newGraph(root *jsonschema.Schema, document any) (*graph, error) {
	g := &graph{document: document, byPointer: map[string]*node{}, anchors: map[string]*node{}, draft7: strings.Contains(root.Schema, "draft-07")}
	var err error
	if g.root, err = g.add(root, "", true); err != nil {
		return nil, err
	}
	for _, n := range g.byPointer {
		if err := g.refer(n); err != nil {
			return nil, err
		}
	}
	for _, n := range g.byPointer {
		if err := n.visit(); err != nil {
			return nil, err
		}
		g.limits = g.limits.max(n.limits)
	}
	g.document = nil
	return g, nil
}

// adder adds the schemas below one.
type adder struct {
	*graph
	at  string
	err error
}

func (a *adder) one(s *jsonschema.Schema, keyword string, applied bool) *node {
	if s == nil || a.err != nil {
		return nil
	}
	n, err := a.add(s, a.at+"/"+keyword, applied)
	a.err = err
	return n
}

func (a *adder) list(list []*jsonschema.Schema, keyword string) []*node {
	var nodes []*node
	for i, s := range list {
		nodes = append(nodes, a.one(s, keyword+"/"+strconv.Itoa(i), true))
	}
	return nodes
}

func (a *adder) byName(m map[string]*jsonschema.Schema, keyword string, applied bool) map[string]*node {
	if len(m) == 0 {
		return nil
	}
	nodes := make(map[string]*node, len(m))
	for name, s := range m {
		nodes[name] = a.one(s, keyword+"/"+escapeToken(name), applied)
	}
	return nodes
}

func escapeToken(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// add makes a node of s and of all below it, but follows no references yet.
func (g *graph) add(s *jsonschema.Schema, pointer string, applied bool) (*node, error) {
	n := &node{Schema: s, pointer: pointer, names: pointer}
	if err := g.name(n); err != nil {
		return nil, err
	}
	if applied {
		n.uses = 1
	}
	g.byPointer[pointer] = n
	a := &adder{graph: g, at: pointer}
	a.byName(s.Defs, "$defs", false)
	a.byName(s.Definitions, "definitions", false)
	a.one(s.ContentSchema, "contentSchema", false)
	n.all = slices.Concat(a.list(s.AllOf, "allOf"), nodes(a.one(s.Then, "then", true), a.one(s.Else, "else", true)))
	n.anyOf = a.list(s.AnyOf, "anyOf")
	n.tried = slices.Concat(a.list(s.OneOf, "oneOf"), nodes(a.one(s.Not, "not", true), a.one(s.If, "if", true)))
	n.dependent = a.byName(s.DependentSchemas, "dependentSchemas", true)
	if dependencies := a.byName(s.DependencySchemas, "dependencies", true); g.draft7 {
		n.dependent = dependencies
	}
	g.addElements(a, n)
	n.properties = a.byName(s.Properties, "properties", true)
	for text, next := range a.byName(s.PatternProperties, "patternProperties", true) {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("patternProperties: %w", err)
		}
		n.patterns = append(n.patterns, pattern{re, instructions(text), next})
	}
	n.additional = a.one(s.AdditionalProperties, "additionalProperties", true)
	n.leftOver = a.one(s.UnevaluatedProperties, "unevaluatedProperties", true)
	n.memberName = a.one(s.PropertyNames, "propertyNames", true)
	n.weigh()
	return n, errors.Join(a.err, g.exact(n))
}

func (g *graph) addElements(a *adder, n *node) {
	n.contains = a.one(n.Contains, "contains", true)
	n.unevaluated = a.one(n.UnevaluatedItems, "unevaluatedItems", true)
	prefix, tuple := a.list(n.PrefixItems, "prefixItems"), a.list(n.ItemsArray, "items")
	items, rest := a.one(n.Items, "items", true), a.one(n.AdditionalItems, "additionalItems", true)
	switch {
	case !g.draft7:
		n.prefix, n.items = prefix, items
	case n.ItemsArray != nil:
		n.prefix, n.items = tuple, rest
	default:
		n.items = items
	}
}

func nodes(list ...*node) []*node {
	return slices.DeleteFunc(list, func(n *node) bool { return n == nil })
}

// types are the words that the keyword type knows. jsonschema-go takes any, and then nothing fits.
var types = []string{"", "null", "boolean", "object", "array", "number", "string", "integer"}

// name checks what a schema calls itself, and its type.
func (g *graph) name(n *node) error {
	for _, t := range append([]string{n.Type}, n.Types...) {
		if !slices.Contains(types, t) {
			return fmt.Errorf("unknown type %q", t)
		}
	}
	anchors := []string{n.Anchor, n.DynamicAnchor}
	if n.ID != "" {
		if n.pointer != "" && !strings.HasPrefix(n.ID, "#") {
			return fmt.Errorf("$id %q below the root is not supported", n.ID)
		}
		n.names = n.ID
		if strings.HasPrefix(n.ID, "#") {
			anchors = append(anchors, n.ID[1:])
		}
	}
	for _, anchor := range anchors {
		if other := g.anchors[anchor]; other != nil && other != n {
			return fmt.Errorf("anchor %q is there twice", anchor)
		}
		if anchor != "" {
			g.anchors[anchor] = n
		}
	}
	return nil
}

// refer follows the references of n. There being one base, a dynamic one leads to where a static one would.
func (g *graph) refer(n *node) error {
	for _, reference := range []string{n.Ref, n.DynamicRef} {
		if reference == "" {
			continue
		}
		to, err := url.Parse(reference)
		if err != nil {
			return err
		}
		target := g.byPointer[to.Fragment]
		if to.Fragment != "" && to.Fragment[0] != '/' {
			target = g.anchors[to.Fragment]
		}
		if target == nil {
			return fmt.Errorf("reference %q is not supported: it must be #, #/a/json/pointer or #anchor", reference)
		}
		target.uses++
		if g.draft7 && reference == n.Ref { // which has it that all else counts for nothing
			*n = node{Schema: n.Schema, pointer: n.pointer, names: n.names, uses: n.uses, words: n.words}
		}
		n.all = append(n.all, target)
	}
	return nil
}

// weigh computes what one application costs whatever the value.
func (n *node) weigh() {
	n.words = 2*maxShown + 2*len(n.Pattern) + 32*(len(n.AnyOf)+len(n.OneOf)) + 16*len(n.Types)
	n.fixed = (len(n.Properties) + len(n.DependentSchemas) + len(n.DependencySchemas)) / 8
	for _, list := range slices.Concat(mapValues(n.DependentRequired), mapValues(n.DependencyStrings), [][]string{n.Required}) {
		n.fixed += len(list) / 8
		for _, name := range list {
			n.words += 4*len(name) + 4
		}
	}
	if n.MultipleOf != nil || n.Minimum != nil || n.Maximum != nil || n.ExclusiveMinimum != nil || n.ExclusiveMaximum != nil {
		n.fixed += 2
		n.words += 1024 // %f of 1e308, and the like
	}
	if n.Enum != nil || n.Const != nil {
		data, _ := json.Marshal([]any{n.Enum, n.Const})
		n.fixed += len(n.Enum)/4 + len(data)/64
		n.words += maxShown + 2*len(data)
	}
	for _, s := range slices.Concat(n.AnyOf, n.OneOf, []*jsonschema.Schema{n.Not, n.Contains}) {
		if s != nil {
			n.words += len(s.String())
		}
	}
	if n.Pattern != "" {
		n.insts = instructions(n.Pattern)
	}
}

func mapValues[K comparable, V any](m map[K]V) []V {
	var list []V
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// instructions is how long the program of a pattern is, which bounds the work of matching one byte.
func instructions(pattern string) int {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0 // The library refuses it.
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0
	}
	return len(p.Inst)
}

// visit looks for circles of what is applied to one value, and sums that up.
func (n *node) visit() error {
	switch n.state {
	case open:
		return errors.New("references go in a circle")
	case closed:
		return nil
	}
	n.state = open
	n.limits = n.alone()
	for _, next := range slices.Concat(n.all, n.anyOf, n.tried, mapValues(n.dependent)) {
		if err := next.visit(); err != nil {
			return err
		}
		b := next.limits
		n.limits.applied += b.applied
		n.limits.spread += b.spread
		n.limits.chain = math.Max(n.limits.chain, 1+b.chain)
	}
	n.state = closed
	return nil
}
