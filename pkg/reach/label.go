package reach

import (
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Label is what to call a block: the name of its only end, or what its ends' names
// begin with and how many there are.
func (m *Matrix) Label(b Block) string {
	first := m.Ends[b.First].Name
	if b.Count == 1 {
		return first
	}
	common := first
	for _, e := range m.Ends[b.First : b.First+b.Count] {
		for !strings.HasPrefix(e.Name, common) {
			common = common[:len(common)-1]
		}
	}
	// Half a word would be no name.
	common = common[:strings.LastIndexAny(common, "-/._ ")+1]
	switch {
	case common == "" && b.Count == 2:
		return first + ", " + m.Ends[b.First+1].Name
	case common == "":
		return fmt.Sprintf("%s and %d more", first, b.Count-1)
	}
	return fmt.Sprintf("%s… (%d)", common, b.Count)
}

// counting is a name as it is sorted: web-9 before web-10.
func counting(name string) string {
	const digits = 20
	var b strings.Builder
	for name != "" {
		n := len(name) - len(strings.TrimLeft(name, "0123456789"))
		if n > 0 {
			b.WriteString(strings.Repeat("0", max(digits-n, 0)))
		}
		n = max(n, 1)
		b.WriteString(name[:n])
		name = name[n:]
	}
	return b.String()
}

func groupName(p *nsg.Policy) string {
	if p == nil {
		return ""
	}
	return p.Group.Name
}

func joined(words []string) string { return strings.Join(words, ",") }
