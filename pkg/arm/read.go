package arm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Read adds what one document says to into. name is its file's name, for
// findings; data is JSON with or without comments, in UTF-8 or UTF-16. It does
// not keep data. A document that is broken adds findings and nothing else.
//
// What a template adds to resources of other documents finds those that have been read
// before.
func Read(name string, data []byte, into *Documents) {
	into.read(name, data)
	into.settle()
}

// read is Read without what templates add to other documents.
func (d *Documents) read(name string, data []byte) {
	r := &reader{file: name, docs: d}
	t, err := treeOf(data)
	if err != nil {
		r.broken(codeOf(err), err.Error())
		return
	}
	r.document(value{t, 0})
	if len(r.additions) > 0 {
		d.unsettled = append(d.unsettled, r)
		return
	}
	r.finish()
}

// treeOf parses a file. Strings over several lines are for templates.
func treeOf(data []byte) (*tree, error) {
	if len(data) > MaxFile {
		return nil, &parseError{code: TooLarge, what: fmt.Sprintf("the file is larger than %d bytes, the limit", MaxFile)}
	}
	text, err := toText(data)
	if err != nil {
		return nil, err
	}
	t, raw, err := parseLines(text)
	if err == nil && raw != nil && !isTemplate(value{t, 0}) {
		err = raw
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func codeOf(err error) string {
	var p *parseError
	if errors.As(err, &p) {
		return p.code
	}
	return Malformed
}

// reader carries one document into the Documents.
type reader struct {
	file string
	docs *Documents

	group, rule string             // which are being read, for findings
	children    map[string][]value // of a template: parts of the resource that are resources of their own, by the key of their list

	additions []addition // of a template: parts of resources that it does not make
	home      home       // of a template, as far as the addition tells that is being read

	unknown    int // values of a template that were read and are not known
	told       int // findings of this document so far
	untold     int // findings beyond the limit
	untoldFail bool

	skipped []skip         // what is not read, in the document's order
	place   map[string]int // where a type stands in skipped
	tagsOff []string       // service tags that differ from those of another file
	tagsOf  string         // that file
}

// skip counts resources of a type that is not read.
type skip struct {
	what  string // the type, or a description where there is none
	count int
	first value
}

// toldOfDocument is how many findings one document may have: a hostile one
// would bury the others'.
const toldOfDocument = 100

func (r *reader) tell(f nsg.Finding) {
	if r.told >= toldOfDocument {
		r.untold++
		r.untoldFail = r.untoldFail || f.Severity == nsg.Error
		return
	}
	r.told++
	f.File, f.NSG, f.Rule = r.file, r.group, r.rule
	r.docs.Findings = append(r.docs.Findings, f)
}

func (r *reader) broken(code, message string) {
	r.tell(nsg.Finding{Severity: nsg.Error, Code: code, Message: message})
}

// fault tells of an error in the property of that key, whose value is v.
func (r *reader) fault(code, key string, v value, format string, args ...any) {
	r.about(nsg.Error, code, key, v, format, args...)
}

// warn tells of something that does not keep the document from being used.
func (r *reader) warn(code, key string, v value, format string, args ...any) {
	r.about(nsg.Warning, code, key, v, format, args...)
}

func (r *reader) about(s nsg.Severity, code, key string, v value, format string, args ...any) {
	f := nsg.Finding{Severity: s, Code: code, Property: key}
	if r.told < toldOfDocument { // finding a path is a search
		f.Message = v.path() + ": " + fmt.Sprintf(format, args...)
		if v.kind() != objectKind && v.kind() != listKind {
			f.Value = strings.Clone(shorten(v.plain())) // the document must not live on in it
		}
	}
	r.tell(f)
}

// finish tells what was only counted so far.
func (r *reader) finish() {
	r.group, r.rule = "", ""
	for _, s := range r.skipped {
		if r.told >= toldOfDocument { // finding a path is a search
			r.untold++
			continue
		}
		r.tell(nsg.Finding{
			Severity: nsg.Warning, Code: Skipped, Property: "type", Value: s.what,
			Message: s.first.path() + ": " + counted(s.count, "resource is", "resources are") + " not read: " + s.what,
		})
	}
	r.finishTags()
	if r.untold == 0 {
		return
	}
	severity := nsg.Warning
	if r.untoldFail {
		severity = nsg.Error
	}
	r.docs.Findings = append(r.docs.Findings, nsg.Finding{
		Severity: severity, Code: MoreFindings, File: r.file,
		Message: fmt.Sprintf("the document has %s more", counted(r.untold, "finding", "findings")),
	})
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// document reads the outermost value.
func (r *reader) document(top value) {
	switch top.kind() {
	case objectKind:
		r.object(top)
	case listKind: // az … list, and PowerShell with several objects
		for item := range top.items() {
			r.resource(item)
		}
	default:
		r.fault(Malformed, "", top, "the document is %s: not a resource and not a list of resources", top.kind())
	}
}

func (r *reader) object(top value) {
	only := onlyMember(top)
	switch {
	case isTemplate(top):
		r.template(top)
	case isParameters(top):
		r.warn(ParametersSkipped, "$schema", top,
			"a parameter file is no document: vnetctl reads it with --parameters; templates beside it have their parameters' defaults")
	case kindOf(top) != unknown:
		r.resource(top)
	case typeOf(top) == "" && top.get("value").kind() == listKind:
		r.page(top)
	case typeOf(top) == "" && kindOf(only) != unknown: // az … create: {"NewNSG": {…}}
		r.resource(only)
	default:
		r.resource(top)
	}
}

// page reads a REST list.
func (r *reader) page(top value) {
	for item := range top.get("value").items() {
		r.resource(item)
	}
	r.nextLink(top)
}

// nextLink warns of a list that goes on: what is missing may be what matters.
func (r *reader) nextLink(list value) {
	if next := list.get("nextLink"); next.given() && next.raw() != "" {
		r.warn(Incomplete, "nextLink", next, "the list is incomplete: Azure gives the rest at this address")
	}
}

// resource reads one resource of whatever kind.
func (r *reader) resource(v value) {
	switch kindOf(v) {
	case securityGroup:
		r.securityGroup(v)
	case virtualNetwork:
		r.virtualNetwork(v)
	case applicationGroup:
		r.applicationGroup(v)
	case routeTable:
		r.routeTable(v)
	case serviceTags:
		r.serviceTags(v)
	default:
		r.skip(v)
	}
	r.group, r.rule = "", ""
}

// skip counts a resource that is not read. Text in its place is what
// ConvertTo-Json leaves of one.
func (r *reader) skip(v value) {
	if v.kind() == stringKind && isCutOff(v.string()) {
		r.cutOff("", v)
		return
	}
	what := typeOf(v)
	if what == "" {
		what = describe(v)
	}
	what = word(what)
	if r.place == nil {
		r.place = map[string]int{}
	}
	at, known := r.place[what]
	if !known {
		at = len(r.skipped)
		r.place[what] = at
		r.skipped = append(r.skipped, skip{what: what, first: v})
	}
	r.skipped[at].count++
}
