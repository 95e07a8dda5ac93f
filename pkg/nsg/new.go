package nsg

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// New makes a group of a definition. It returns everything that is wrong with it
// at once, in the order of the document; the group is nil if any finding is an
// error.
func New(d Definition) (*Group, []Finding) {
	r := &report{file: d.File, nsg: d.Name}
	r.name(place{report: r}, d.Name, "the network security group")
	rules := make([]Rule, 0, len(d.Rules)+6)
	known := others{names: map[string]string{}, priorities: map[slot]string{}}
	for i := range d.Rules {
		at := place{report: r, rule: d.Rules[i].Name}
		rule := at.parse(&d.Rules[i], i)
		known.compare(at, &rule)
		rules = append(rules, rule)
	}
	r.limits(rules)
	if r.failed {
		return nil, r.findings
	}
	rules = append(rules, defaultRules()...)
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Priority, b.Priority))
	})
	return &Group{Name: d.Name, ID: d.ID, File: d.File, FlushConnection: d.FlushConnection, Rules: rules}, r.findings
}

// maxName is the length of a resource's name in characters.
const maxName = 80

// name reports a missing name and, as a warning, one that Azure would refuse:
// nothing here depends on its letters. whose says what has the name.
func (r *report) name(at place, name, whose string) {
	switch {
	case name == "":
		at.fail(CodeNameMissing, "name", name, "%s has no name", whose)
	case utf8.RuneCountInString(name) > maxName:
		at.warn(CodeInvalidName, "name", name, "the name has %d characters; Azure allows %d",
			utf8.RuneCountInString(name), maxName)
	case !goodName(name):
		at.warn(CodeInvalidName, "name", name,
			"the name %q does not begin with a letter or digit, end with one or with _, and have only . - _ besides", name)
	}
}

func goodName(name string) bool {
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if !isWord(first) || !isWord(last) && last != '_' {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return !isWord(c) && !strings.ContainsRune("._-", c) })
}

func isWord(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// slot is what only one rule of a group may have.
type slot struct {
	direction Direction
	priority  int
}

// others holds what the rules before one have taken.
type others struct {
	names      map[string]string // by the name in lower case
	priorities map[slot]string
}

// compare reports what the rule shares with one before it though it must not.
// Values that are invalid in themselves conflict with none.
func (o others) compare(at place, r *Rule) {
	key := strings.ToLower(r.Name)
	if before, taken := o.names[key]; taken && key != "" {
		at.fail(CodeDuplicateName, "name", r.Name, "two rules have the name %q", before)
	} else {
		o.names[key] = r.Name
	}
	if r.Direction == 0 || r.Priority == 0 {
		return
	}
	s := slot{direction: r.Direction, priority: r.Priority}
	if before, taken := o.priorities[s]; taken {
		at.fail(CodeConflict, "priority", itoa(r.Priority), "%v rule %q has the priority %d as well",
			r.Direction, before, r.Priority)
		return
	}
	o.priorities[s] = r.Name
}
