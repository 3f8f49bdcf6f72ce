package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// expression is a parsed {"$expr": …}: arithmetic on what is in the request.
//
//	sum     = product { ("+" | "-") product }
//	product = unary { ("*" | "/" | "%") unary }
//	unary   = "-" unary | primary { "." name | "[" sum "]" }
//	primary = number | string | "true" | "false" | "null" | "request" | "(" sum ")"
//
// Whole numbers are computed exactly, others as float64 does; + joins strings.
// A member that is not there is absent, and nothing can be computed with it.
type expression func(request any) (any, error)

// maxExpression bounds an expression's length, and with it how deep it nests.
const maxExpression = 4096

func parseExpression(text string) (expression, error) {
	if len(text) > maxExpression {
		return nil, notUnderstood("an expression of %d bytes", len(text))
	}
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &exprParser{text: text, tokens: tokens}
	e, err := p.sum()
	if err == nil && p.peek() != "" {
		err = p.unexpected()
	}
	return e, err
}

type exprParser struct {
	text   string
	tokens []string
	next   int
}

func (p *exprParser) peek() string {
	if p.next < len(p.tokens) {
		return p.tokens[p.next]
	}
	return ""
}

// accept takes the next token if it is one of those, and returns it.
func (p *exprParser) accept(any ...string) string {
	t := p.peek()
	for _, a := range any {
		if t == a && t != "" {
			p.next++
			return t
		}
	}
	return ""
}

func (p *exprParser) unexpected() error {
	if t := p.peek(); t != "" {
		return notUnderstood("the expression %q: unexpected %q", p.text, t)
	}
	return notUnderstood("the expression %q: it ends too early", p.text)
}

func (p *exprParser) sum() (expression, error) { return p.chain(p.product, "+", "-") }

func (p *exprParser) product() (expression, error) { return p.chain(p.unary, "*", "/", "%") }

// chain parses operands between operators of one rank, from the left.
func (p *exprParser) chain(operand func() (expression, error), operators ...string) (expression, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for {
		operator := p.accept(operators...)
		if operator == "" {
			return left, nil
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		left = binary(operator, left, right)
	}
}

func binary(operator string, left, right expression) expression {
	return func(request any) (any, error) {
		l, err := left(request)
		if err != nil {
			return nil, err
		}
		r, err := right(request)
		if err != nil {
			return nil, err
		}
		return compute(operator, l, r)
	}
}

func (p *exprParser) unary() (expression, error) {
	if p.accept("-") != "" {
		e, err := p.unary()
		return binary("-", constant(json.Number("0")), e), err
	}
	e, err := p.primary()
	for err == nil {
		switch p.accept(".", "[") {
		case ".":
			name := p.peek()
			if !isWord(name) {
				return nil, p.unexpected()
			}
			p.next++
			e = member(e, constant(name))
		case "[":
			var key expression
			if key, err = p.sum(); err == nil && p.accept("]") == "" {
				err = p.unexpected()
			}
			e = member(e, key)
		default:
			return e, nil
		}
	}
	return nil, err
}

func (p *exprParser) primary() (expression, error) {
	t := p.peek()
	switch {
	case t == "":
		return nil, p.unexpected()
	case p.accept("(") != "":
		e, err := p.sum()
		if err == nil && p.accept(")") == "" {
			err = p.unexpected()
		}
		return e, err
	case p.accept("request") != "":
		return func(request any) (any, error) { return request, nil }, nil
	case p.accept("true", "false") != "":
		return constant(t == "true"), nil
	case p.accept("null") != "":
		return constant(nil), nil
	case isDigit(t[0]):
		p.next++
		v, err := parseValue([]byte(t))
		if err != nil {
			return nil, notUnderstood("the expression %q: number %s", p.text, t)
		}
		return constant(v), nil
	case t[0] == '\'':
		p.next++
		return constant(t[1:]), nil
	}
	return nil, p.unexpected()
}

func constant(v any) expression { return func(any) (any, error) { return v, nil } }

// member reads a member of an object or an element of an array.
func member(of, key expression) expression {
	return func(request any) (any, error) {
		v, err := of(request)
		if err != nil {
			return nil, err
		}
		k, err := key(request)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case map[string]any:
			if name, ok := k.(string); ok {
				if found, ok := v[name]; ok {
					return found, nil
				}
			}
			return absent{}, nil
		case []any:
			if n, ok := k.(json.Number); ok {
				if i, err := strconv.Atoi(string(n)); err == nil && i >= 0 && i < len(v) {
					return v[i], nil
				}
			}
			return absent{}, nil
		}
		return nil, fmt.Errorf("%s has no members", render(v))
	}
}

// compute applies an operator to two values.
func compute(operator string, l, r any) (any, error) {
	a, aText := l.(string)
	b, bText := r.(string)
	if operator == "+" && (aText || bText) {
		if !aText {
			a = render(l)
		}
		if !bText {
			b = render(r)
		}
		if l == (absent{}) || r == (absent{}) {
			return nil, errors.New("nothing to join")
		}
		return a + b, nil
	}
	x, xOK := l.(json.Number)
	y, yOK := r.(json.Number)
	if !xOK || !yOK {
		return nil, fmt.Errorf("cannot compute %s %s %s", render(l), operator, render(r))
	}
	if n, ok := computeWhole(operator, x, y); ok {
		return n, nil
	}
	return computeFloat(operator, x, y)
}

// computeWhole does what stays within the whole numbers.
func computeWhole(operator string, x, y json.Number) (json.Number, bool) {
	a, aOK := new(big.Int).SetString(string(x), 10)
	b, bOK := new(big.Int).SetString(string(y), 10)
	if !aOK || !bOK {
		return "", false
	}
	switch operator {
	case "+":
		a.Add(a, b)
	case "-":
		a.Sub(a, b)
	case "*":
		a.Mul(a, b)
	default:
		if b.Sign() == 0 {
			return "", false
		}
		quotient, rest := new(big.Int).QuoRem(a, b, new(big.Int))
		switch {
		case operator == "%":
			a = rest
		case rest.Sign() != 0:
			return "", false
		default:
			a = quotient
		}
	}
	return json.Number(a.String()), true
}

func computeFloat(operator string, x, y json.Number) (any, error) {
	a, errA := x.Float64()
	b, errB := y.Float64()
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	var v float64
	switch operator {
	case "+":
		v = a + b
	case "-":
		v = a - b
	case "*":
		v = a * b
	case "/":
		v = a / b
	case "%":
		v = math.Mod(a, b)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, fmt.Errorf("%s %s %s is not a number", x, operator, y)
	}
	return json.Number(strconv.FormatFloat(v, 'g', -1, 64)), nil
}
