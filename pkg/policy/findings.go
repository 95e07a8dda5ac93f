package policy

import (
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Findings is everything that is wrong with documents: the files first, then each
// group, then the route tables.
func Findings(d *arm.Documents) []nsg.Finding {
	findings := slices.Clone(d.Findings)
	tags := tagsFor(d)
	for i := range d.Groups {
		findings = append(findings, Titled(d, &d.Groups[i], groupFindings(d.Groups[i], tags))...)
	}
	return append(findings, tableFindings(d)...)
}

// Titled are findings about a group of the documents that call it by its title, and those
// about a rule that a template adds to it name the template's file.
func Titled(d *arm.Documents, g *nsg.Definition, findings []nsg.Finding) []nsg.Finding {
	title := d.Title(g)
	for i := range findings {
		findings[i].NSG = title
		findings[i].File = d.RuleFile(g, findings[i].Rule)
	}
	return findings
}

// Tags returns what the tags of the documents' rules mean, as far as that is known.
func (c Config) Tags(d *arm.Documents) nsg.Tags {
	read := &contents{VirtualNetwork: c.Space(d), Services: namedServices(d)}
	return read.tags()
}

// tagsFor are tags whose names are right. Of the virtual network nobody asks
// here what it is.
func tagsFor(d *arm.Documents) nsg.Tags {
	if d.ServiceTags == nil {
		return nsg.Tags{}
	}
	tags := nsg.Tags{Services: make(map[string]nsg.AddressSet, len(d.ServiceTags))}
	for name := range d.ServiceTags {
		tags.Services[name] = nsg.AddressSet{}
	}
	return tags
}

// groupFindings judges one group. What a tag means is asked of valid rules only, so
// that of a group with faults each rule is looked at for itself.
func groupFindings(d nsg.Definition, tags nsg.Tags) []nsg.Finding {
	g, findings := nsg.New(d)
	if g != nil {
		_, more := nsg.NewPolicy(g, tags)
		return append(findings, more...)
	}
	for i := range d.Rules {
		single := d
		single.Rules = d.Rules[i : i+1]
		if g, _ := nsg.New(single); g != nil {
			_, more := nsg.NewPolicy(g, tags)
			findings = append(findings, more...)
		}
	}
	return findings
}
