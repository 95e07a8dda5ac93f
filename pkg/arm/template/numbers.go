package template

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// numberFunction finds the functions of numbers, of comparison and logic, and of
// address prefixes: learn.microsoft.com/azure/azure-resource-manager/templates/
// template-functions-numeric, …-comparison, …-logical and …-cidr.
func numberFunction(name string) function {
	switch name {
	case "add":
		return function{2, 2, onNumbers(added)}
	case "sub":
		return function{2, 2, onNumbers(subtracted)}
	case "mul":
		return function{2, 2, onNumbers(multiplied)}
	case "div":
		return function{2, 2, onNumbers(divided)}
	case "mod":
		return function{2, 2, onNumbers(remainder)}
	case "min":
		return function{1, -1, func(c *call) (Value, error) { return c.extreme(-1) }}
	case "max":
		return function{1, -1, func(c *call) (Value, error) { return c.extreme(1) }}
	case "int":
		return function{1, 1, (*call).int}
	case "range":
		return function{2, 2, (*call).rangeOf}
	case "equals":
		return function{2, 2, func(c *call) (Value, error) { return c.equal(c.args[0], c.args[1], 0) }}
	case "less":
		return function{2, 2, onNumbers(func(a, b int64) (Value, error) { return a < b, nil })}
	case "lessorequals":
		return function{2, 2, onNumbers(func(a, b int64) (Value, error) { return a <= b, nil })}
	case "greater":
		return function{2, 2, onNumbers(func(a, b int64) (Value, error) { return a > b, nil })}
	case "greaterorequals":
		return function{2, 2, onNumbers(func(a, b int64) (Value, error) { return a >= b, nil })}
	case "not":
		return function{1, 1, (*call).not}
	case "bool":
		return function{1, 1, (*call).bool}
	case "true":
		return function{0, 0, func(*call) (Value, error) { return true, nil }}
	case "false":
		return function{0, 0, func(*call) (Value, error) { return false, nil }}
	case "cidrsubnet":
		return function{3, 3, (*call).cidrSubnet}
	case "cidrhost":
		return function{2, 2, (*call).cidrHost}
	case "parsecidr":
		return function{1, 1, (*call).parseCidr}
	}
	return function{}
}

// onNumbers is for functions of two integers. Azure compares strings as well, in an
// order that it does not document: here an error.
func onNumbers(of func(a, b int64) (Value, error)) func(*call) (Value, error) {
	return func(c *call) (Value, error) {
		a, err := c.num(0)
		if err != nil {
			return nil, err
		}
		b, err := c.num(1)
		if err != nil {
			return nil, err
		}
		return of(a, b)
	}
}

func tooLarge() error { return fmt.Errorf("the result is beyond 64 bits") }

func added(a, b int64) (Value, error) {
	if sum := a + b; (sum > a) == (b > 0) {
		return sum, nil
	}
	return nil, tooLarge()
}

func subtracted(a, b int64) (Value, error) {
	if difference := a - b; (difference < a) == (b > 0) {
		return difference, nil
	}
	return nil, tooLarge()
}

func multiplied(a, b int64) (Value, error) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	if high != 0 || low > math.MaxInt64 {
		return nil, tooLarge()
	}
	return a * b, nil
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func divided(a, b int64) (Value, error) {
	if b == 0 {
		return nil, fmt.Errorf("%d is divided by 0", a)
	}
	if a == math.MinInt64 && b == -1 {
		return nil, tooLarge()
	}
	return a / b, nil
}

func remainder(a, b int64) (Value, error) {
	if b == 0 {
		return nil, fmt.Errorf("%d is divided by 0", a)
	}
	return a % b, nil
}

// extreme returns the least or the greatest integer of an array or of the arguments.
func (c *call) extreme(sign int64) (Value, error) {
	list := c.args
	if l, ok := c.args[0].([]Value); ok && len(c.args) == 1 {
		list = l
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("the array is empty")
	}
	if err := c.spend(len(list)); err != nil {
		return nil, err
	}
	var best int64
	for i, v := range list {
		n, ok := v.(int64)
		if !ok {
			return nil, fmt.Errorf("element %d is %s, where an integer belongs", i, kindOf(v))
		}
		if i == 0 || sign < 0 && n < best || sign > 0 && n > best {
			best = n
		}
	}
	return best, nil
}

func (c *call) int() (Value, error) {
	if s, ok := c.args[0].(string); ok {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not an integer of 64 bits", quote(s))
		}
		return n, nil
	}
	return c.num(0)
}

func (c *call) rangeOf() (Value, error) {
	start, err := c.num(0)
	if err != nil {
		return nil, err
	}
	count, err := c.num(1)
	if err != nil {
		return nil, err
	}
	if count < 0 || count > maxRange {
		return nil, fmt.Errorf("%d elements are not from 0 to %d", count, maxRange)
	}
	if _, err := added(start, count); err != nil {
		return nil, err
	}
	out := make([]Value, count)
	for i := range count {
		out[i] = start + i
	}
	return out, nil
}

func (c *call) not() (Value, error) {
	b, ok := c.args[0].(bool)
	if !ok {
		return nil, c.wrong(0, "true or false")
	}
	return !b, nil
}

func (c *call) bool() (Value, error) {
	switch x := c.args[0].(type) {
	case bool:
		return x, nil
	case int64:
		return x != 0, nil
	case string:
		if strings.EqualFold(x, "true") || strings.EqualFold(x, "false") {
			return strings.EqualFold(x, "true"), nil
		}
		return nil, fmt.Errorf("%s is neither true nor false", quote(x))
	}
	return nil, c.wrong(0, "a string or an integer")
}

// cidrSubnet returns the subnet of that length and number in a prefix.
func (c *call) cidrSubnet() (Value, error) {
	p, err := c.prefix(0)
	if err != nil {
		return nil, err
	}
	length, err := c.num(1)
	if err != nil {
		return nil, err
	}
	number, err := c.num(2)
	if err != nil {
		return nil, err
	}
	room := length - int64(p.Bits())
	if room < 0 || length > int64(p.Addr().BitLen()) {
		return nil, fmt.Errorf("/%d is no length of a subnet of %s", length, p)
	}
	if number < 0 || room < 63 && number >= 1<<room {
		return nil, fmt.Errorf("%s has no subnet of length /%d with the number %d", p, length, number)
	}
	return netip.PrefixFrom(offset(p.Addr(), uint64(number), int64(p.Addr().BitLen())-length), int(length)).String(), nil
}

// prefix reads an address prefix.
func (c *call) prefix(i int) (netip.Prefix, error) {
	s, err := c.str(i)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not an address prefix such as 10.1.0.0/16", quote(s))
	}
	return p.Masked(), nil
}

// cidrHost returns a usable address of a prefix: those after its first one and, of IPv4,
// before its last.
func (c *call) cidrHost() (Value, error) {
	p, err := c.prefix(0)
	if err != nil {
		return nil, err
	}
	number, err := c.num(1)
	if err != nil {
		return nil, err
	}
	room, unused := p.Addr().BitLen()-p.Bits(), int64(1)
	if p.Addr().Is4() {
		unused = 2
	}
	if number < 0 || room < 2 || room < 63 && number >= 1<<room-unused {
		return nil, fmt.Errorf("%s has no usable address with the number %d", p, number)
	}
	return offset(p.Addr(), uint64(number)+1, 0).String(), nil
}

// parseCidr tells what a prefix consists of. Which addresses of a prefix of one or two are
// usable is not documented.
func (c *call) parseCidr() (Value, error) {
	p, err := c.prefix(0)
	if err != nil {
		return nil, err
	}
	first, last, mask := p.Addr().AsSlice(), p.Addr().AsSlice(), make([]byte, p.Addr().BitLen()/8)
	for bit := range p.Addr().BitLen() {
		if bit < p.Bits() {
			mask[bit/8] |= 0x80 >> (bit % 8)
		} else {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	out := &Object{}
	out.Set("network", address(first))
	out.Set("netmask", address(mask))
	if p.Addr().Is4() {
		out.Set("broadcast", address(last))
		first[3]++
		last[3]--
	}
	out.Set("firstUsable", address(first))
	out.Set("lastUsable", address(last))
	if p.Addr().BitLen()-p.Bits() < 2 {
		for _, key := range []string{"firstUsable", "lastUsable"} {
			out.Set(key, &Fault{Reason: fmt.Errorf("the %s of so small a prefix as %s is not documented", key, p)})
		}
	}
	out.Set("cidr", int64(p.Bits()))
	return out, nil
}

func address(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

// offset adds n, shifted, to an address whose bits there are 0.
func offset(a netip.Addr, n uint64, shift int64) netip.Addr {
	b := a.AsSlice()
	for bit := range int64(64) {
		at := shift + bit
		if n>>bit&1 == 1 && at < int64(8*len(b)) {
			b[int64(len(b))-1-at/8] |= 1 << (at % 8)
		}
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}
