package nexthop

import (
	"fmt"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Codes of findings about route tables. They are of ours: no source tells Azure's.
const (
	CodeInvalidPrefix  = "RouteInvalidAddressPrefix"
	CodeUnknownTag     = "RouteUnknownServiceTag"
	CodeInvalidType    = "RouteInvalidNextHopType"
	CodeInvalidAddress = "RouteInvalidNextHopIpAddress"
	CodeMixedFamilies  = "RouteMixedAddressFamilies"
	CodeDuplicate      = "RouteDuplicate" // of a name or a prefix
	CodeLimit          = "RouteTableLimitExceeded"
)

func (r *reader) fail(d *arm.Route, code, property, value, format string, args ...any) {
	r.find(nsg.Error, d, code, property, value, fmt.Sprintf(format, args...))
}

func (r *reader) warn(d *arm.Route, code, property, value, format string, args ...any) {
	r.find(nsg.Warning, d, code, property, value, fmt.Sprintf(format, args...))
}

// find notes a finding. Its place is in the message: what has a name in a Finding is
// a security group and its rules.
func (r *reader) find(s nsg.Severity, d *arm.Route, code, property, value, message string) {
	place := "route table " + r.table.Name
	if d.Name != "" {
		place += ", route " + d.Name
	}
	r.findings = append(r.findings, nsg.Finding{Severity: s, Code: code, File: r.table.File,
		Property: property, Value: value, Message: place + ": " + message})
}

func (r *reader) failedSince(n int) bool {
	for _, f := range r.findings[n:] {
		if f.Severity == nsg.Error {
			return true
		}
	}
	return false
}
