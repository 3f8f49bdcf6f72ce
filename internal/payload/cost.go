package payload

import (
	"context"
	"errors"
	"reflect"
)

// A schema of 97 bytes can make a validation of a few hundred bytes take for ever, and the library cannot be told to
// stop. So the work is estimated first, and what would take too much is refused.
//
// The estimate is an upper bound: it goes along every schema that may be applied to a value, as if each application that can
// refuse it did so as late as possible, and with the longest message. Its unit is a step, a schema that is applied to a
// value: about half a microsecond. What costs more counts as several.

var errSteps = errors.New("it takes too many steps to validate")

const (
	lookEach  = 1024    // steps between two looks at the context
	maxStack  = 1 << 16 // schemas that are applied one within another: the stack of a goroutine is bounded
	maxText   = 1 << 40 // where sums of texts stop to grow
	copied    = 512     // bytes of a message, as it is passed up, for a step
	written   = 64      // bytes of a message that is made for a step
	matched   = 128     // instructions of a pattern times bytes of a string for a step
	perMember = 4       // members of an object, or parts of what is hashed or compared, for a step
	quoting   = 4       // bytes that %q makes of one, at most
)

// estimate counts what validations may cost. It is for one goroutine.
type estimate struct {
	ctx   context.Context
	left  int // steps
	look  int // steps until ctx is looked at
	stack int
	err   error // errSteps or that of ctx; from then on nothing counts
	seen  map[application]cost
}

// application is a schema and the value that it is applied to: a container by its address.
type application struct {
	*node
	address uintptr
	scalar  any
}

// cost is what an application costs. Only if it refuses the value there is a message, which each schema on the way up copies.
type cost struct {
	steps   int // with all below it
	failing int // more steps, if it refuses the value
	text    int // bytes of the longest message, then
}

func newEstimate(ctx context.Context, steps int) *estimate {
	return &estimate{ctx: ctx, left: steps, seen: map[application]cost{}}
}

// spend reports false once there are no steps left, or ctx is over.
func (e *estimate) spend(steps int) bool {
	e.left -= steps
	e.look -= steps
	if e.left < 0 && e.err == nil {
		e.err = errSteps
	}
	if e.look < 0 && e.err == nil {
		e.look = lookEach
		e.err = e.ctx.Err()
	}
	return e.err == nil
}

// of spends what the application of n to v costs, with its failure.
func (e *estimate) of(n *node, v any) error {
	e.spend(e.apply(n, v).failing)
	return e.err
}

// apply spends what the application of n to v costs, except for its failure.
func (e *estimate) apply(n *node, v any) cost {
	if e.err != nil {
		return cost{}
	}
	var key application
	if n.uses > 1 { // else there is one way only to this schema and value
		key = e.key(n, v)
		if c, ok := e.seen[key]; ok {
			e.spend(c.steps)
			return c
		}
	}
	if e.stack++; e.stack > maxStack {
		e.err = errSteps
	}
	before := e.left
	c := e.inside(n, v)
	e.stack--
	c.text = min(c.text+len(n.names)+16, maxText)
	c.failing = min(c.failing+1+c.text/copied, maxText)
	c.steps = before - e.left
	if n.uses > 1 && e.err == nil {
		e.seen[key] = c
	}
	return c
}

func (e *estimate) key(n *node, v any) application {
	switch v := v.(type) {
	case jsonObject, jsonArray:
		return application{node: n, address: reflect.ValueOf(v).Pointer()}
	case jsonText:
		e.spend(len(v) / written)
	}
	return application{node: n, scalar: v}
}

// refused makes c that of a schema that may end with the failure of a part, too.
func (c *cost) refused(part cost) {
	c.text, c.failing = max(c.text, part.text), max(c.failing, part.failing)
}

func (e *estimate) inside(n *node, v any) cost {
	c := e.alone(n, v)
	for _, next := range n.all {
		c.refused(e.apply(next, v))
	}
	for _, next := range n.tried {
		e.spend(e.apply(next, v).failing)
	}
	joined := 0
	for _, next := range n.anyOf {
		part := e.apply(next, v)
		e.spend(part.failing)
		joined = min(joined+part.text, maxText)
	}
	c.refused(cost{text: c.text + joined, failing: 2 * joined / copied})
	switch v := v.(type) {
	case jsonArray:
		e.elements(n, v, &c)
	case jsonObject:
		e.members(n, v, &c)
	}
	return c
}

// alone is what n costs without the schemas that it applies in turn.
func (e *estimate) alone(n *node, v any) cost {
	c := cost{text: n.words}
	steps := 1 + n.fixed
	size := -1
	switch v := v.(type) {
	case jsonText:
		size = len(v)
	case string: // the name of a member
		size = len(v)
		c.text += quoting * size
	case jsonObject:
		steps += len(v) / perMember
	case jsonArray:
		steps += len(v) / (2 * perMember)
	}
	if size >= 0 && (n.MinLength != nil || n.MaxLength != nil || n.Pattern != "") {
		c.text += quoting * size
		steps += size/written + match(size, n.insts)
	}
	c.failing = c.text / written
	e.spend(steps)
	return c
}

// match is what it costs to match so many bytes with a pattern.
func match(size, insts int) int { return 1 + size*(8+insts)/matched }

func (e *estimate) elements(n *node, v jsonArray, c *cost) {
	if n.UniqueItems {
		e.unique(v)
	}
	if n.items == nil && n.prefix == nil && n.contains == nil && n.unevaluated == nil {
		return
	}
	for i, element := range v {
		next := n.items
		if i < len(n.prefix) {
			next = n.prefix[i]
		}
		if next != nil {
			c.refused(e.apply(next, element))
		}
		if n.contains != nil {
			e.spend(e.apply(n.contains, element).failing)
		}
		if n.unevaluated != nil {
			c.refused(e.apply(n.unevaluated, element))
		}
		if e.err != nil {
			return
		}
	}
}

func (e *estimate) members(n *node, v jsonObject, c *cost) {
	for name, next := range n.dependent {
		if _, ok := v[name]; ok {
			c.refused(e.apply(next, v))
		}
	}
	if len(n.properties) == 0 && n.patterns == nil && n.additional == nil && n.leftOver == nil && n.memberName == nil {
		return
	}
	names := 0 // bytes of those that may be listed as unexpected
	for name, member := range v {
		names += quoting*len(name) + 3
		next, own := n.properties[name], false
		for _, p := range n.patterns {
			e.spend(match(len(name), p.insts))
			if e.err == nil && p.MatchString(name) {
				c.refused(e.apply(p.node, member))
				own = true
			}
		}
		if next == nil && !own {
			next = n.additional
		}
		if next != nil {
			c.refused(e.apply(next, member))
		}
		if n.leftOver != nil {
			c.refused(e.apply(n.leftOver, member))
		}
		if n.memberName != nil {
			c.refused(e.apply(n.memberName, name))
		}
		if e.err != nil {
			return
		}
	}
	if n.additional != nil {
		c.refused(cost{text: n.words + names, failing: names / written})
	}
}
