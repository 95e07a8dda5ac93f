package nsg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity tells whether a finding keeps a document from being used.
type Severity string

// The severities of findings.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong, or worth knowing, about a document.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // Azure's error code, or one of ours where Azure has none
	File     string   `json:"file"`
	NSG      string   `json:"nsg"`
	Rule     string   `json:"rule"`
	Property string   `json:"property"` // as in the REST document, such as "destinationPortRange"
	Value    string   `json:"value"`
	Message  string   `json:"message"`
}

// FirstError is what is wrong with a group or a route table, for somebody who will
// ask vnetctl validate for the rest; nil if no finding is an error. what names the
// one that the findings are about, where their messages do not.
func FirstError(what string, findings []Finding) error {
	failed := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Severity != Error })
	if len(failed) == 0 {
		return nil
	}
	first := failed[0]
	if first.Rule != "" {
		what += ", rule " + first.Rule
	}
	words := []string{first.File, what, first.Property, first.Code, first.Message}
	text := strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ": ")
	if more := len(failed) - 1; more > 0 {
		return fmt.Errorf("%s (and %d more: vnetctl validate lists them)", text, more)
	}
	return errors.New(text)
}
