package main

import (
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// effectiveRows are the rules as people write them.
func (j *judges) effectiveRows() [][]string {
	rows := [][]string{{"LEVEL", "NSG", "DIRECTION", "PRIORITY", "RULE", "ACCESS",
		"PROTOCOL", "SOURCE", "SOURCE PORT", "DESTINATION", "DESTINATION PORT"}}
	for _, l := range j.levels() {
		for _, r := range shown(l.policy) {
			rows = append(rows, []string{l.name, cell(l.policy.Group.Name, maxNameCell), r.Direction.String(), priority(r.Rule),
				cell(r.FullName(), 0), r.Access.String(), r.Protocol.String(),
				sideText(&r.Rule.Source), portText(r.Source.Ports), sideText(&r.Rule.Destination), portText(r.Destination.Ports)})
		}
	}
	return rows
}

// sideText is who a side of a rule is.
func sideText(e *nsg.Endpoint) string {
	text := "*"
	switch {
	case len(e.ASGs) > 0:
		text = "ASG " + strings.Join(e.ASGs, ",")
	case e.Tag != "":
		text = e.Tag
	case len(e.Prefixes) > 0:
		text = strings.Join(words(e.Prefixes), ",")
	}
	return cell(text, maxValueCell)
}

func portText(ports []nsg.PortRange) string {
	if len(ports) == 0 {
		return "*"
	}
	var list []string
	for _, p := range ports {
		if p.First == p.Last {
			list = append(list, fmt.Sprint(p.First))
		} else {
			list = append(list, fmt.Sprintf("%d-%d", p.First, p.Last))
		}
	}
	return cell(strings.Join(list, ","), maxValueCell)
}

// shownPrefixes is how many prefixes of a tag the table has: Internet alone has some
// thirty, AzureCloud thousands.
const shownPrefixes = 6

// tagRows are the tags of all rules and what they stand for.
func (j *judges) tagRows() [][]string {
	rows := [][]string{{"TAG", "ADDRESSES"}}
	seen := map[string]bool{}
	for _, l := range j.levels() {
		for _, t := range tagsOf(l.policy) {
			if seen[strings.ToLower(t.name)] {
				continue
			}
			seen[strings.ToLower(t.name)] = true
			list := words(t.addresses.Prefixes())
			text := strings.Join(list[:min(len(list), shownPrefixes)], " ")
			if more := len(list) - shownPrefixes; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			rows = append(rows, []string{t.name, orDash(text)})
		}
	}
	return rows
}
