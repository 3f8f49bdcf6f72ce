package payload

import "math"

// limits are of any application of a schema to any value.
type limits struct {
	applied float64 // schemas that are applied to one value
	spread  float64 // of those, how many go on to one and the same part of it
	chain   float64 // of those, how many are applied one within another
	fixed   float64 // the largest node.fixed
	words   float64 // the largest message and name
	insts   float64 // the instructions of patterns
	unique  float64 // 1 if there is uniqueItems
}

func (b limits) max(c limits) limits {
	return limits{
		applied: math.Max(b.applied, c.applied), spread: math.Max(b.spread, c.spread), chain: math.Max(b.chain, c.chain),
		fixed: math.Max(b.fixed, c.fixed), words: math.Max(b.words, c.words), insts: math.Max(b.insts, c.insts), unique: math.Max(b.unique, c.unique),
	}
}

func (n *node) alone() limits {
	count := func(conditions ...bool) (sum float64) {
		for _, c := range conditions {
			if c {
				sum++
			}
		}
		return sum
	}
	b := limits{applied: 1, chain: 1, fixed: float64(n.fixed), words: float64(n.words + len(n.names)), insts: float64(8 + n.insts)}
	for _, p := range n.patterns {
		b.insts += float64(matched + p.insts) // at least a step for each name
	}
	b.unique = count(n.UniqueItems)
	b.spread = max(
		count(len(n.properties) > 0 || n.additional != nil, n.leftOver != nil)+float64(len(n.patterns)),
		count(len(n.prefix) > 0 || n.items != nil, n.contains != nil, n.unevaluated != nil),
		count(n.memberName != nil)) // to a name
	return b
}

// most returns the steps that no estimate of so many bytes, nested so deep, exceeds. It is what makes most estimates
// superfluous: the schemas that people write lead to each part of a value by one way or two.
func (b limits) most(size, depth int) float64 {
	bytes, values := float64(size), float64(size/2+1)
	applications := b.applied * values * math.Pow(math.Max(1, b.spread), float64(depth))
	stack := float64(depth+1) * b.chain
	text := b.words + quoting*bytes
	each := 2 + b.fixed + bytes/perMember + text/written + text*stack/copied + bytes*b.insts/matched + b.unique*values*values
	if stack >= maxStack {
		return math.Inf(1)
	}
	return applications * each
}
