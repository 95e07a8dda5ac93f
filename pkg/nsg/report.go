package nsg

import "fmt"

// report gathers the findings about one group.
type report struct {
	file, nsg string
	findings  []Finding
	failed    bool // an error is among them
}

func (r *report) add(f Finding) {
	f.File, f.NSG = r.file, r.nsg
	r.findings = append(r.findings, f)
	r.failed = r.failed || f.Severity == Error
}

// place is where a report's findings belong: a rule, or the group itself ("").
type place struct {
	*report
	rule string
}

func (p place) fail(code, property, value, format string, args ...any) {
	p.find(Error, code, property, value, fmt.Sprintf(format, args...))
}

func (p place) warn(code, property, value, format string, args ...any) {
	p.find(Warning, code, property, value, fmt.Sprintf(format, args...))
}

func (p place) find(s Severity, code, property, value, message string) {
	p.add(Finding{Severity: s, Code: code, Rule: p.rule, Property: property, Value: value, Message: message})
}
