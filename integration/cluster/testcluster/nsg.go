package testcluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Labels and annotations of the network's documented interface.
const (
	LabelDocuments     = "vnet-cni.io/documents"
	AnnotationNSG      = "vnet-cni.io/nsg"
	AnnotationASGs     = "vnet-cni.io/asgs"
	AnnotationFindings = "vnet-cni.io/findings"
)

// Rule is a security rule. What is not said is "*", inbound, and denied.
type Rule struct {
	Name      string
	Priority  int
	Allow     bool
	Outbound  bool
	Protocol  string
	Port      string // of the destination
	From, To  string // prefix or service tag
	FromASG   string // instead of From
	ToASG     string // instead of To
	ExtraKeys Object // whatever else its properties are to have
}

func (r Rule) object() Object {
	access, direction := "Deny", "Inbound"
	if r.Allow {
		access = "Allow"
	}
	if r.Outbound {
		direction = "Outbound"
	}
	p := Object{
		"priority": r.Priority, "access": access, "direction": direction, "protocol": or(r.Protocol, "*"),
		"sourcePortRange": "*", "destinationPortRange": or(r.Port, "*"),
	}
	side(p, "source", r.From, r.FromASG)
	side(p, "destination", r.To, r.ToASG)
	for k, v := range r.ExtraKeys {
		p[k] = v
	}
	return Object{"name": r.Name, "properties": p}
}

func side(p Object, name, prefix, asg string) {
	if asg == "" {
		p[name+"AddressPrefix"] = or(prefix, "*")
		return
	}
	p[name+"ApplicationSecurityGroups"] = []any{Object{
		"id": "/subscriptions/0/resourceGroups/r/providers/Microsoft.Network/applicationSecurityGroups/" + asg,
	}}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// NSG is a network security group.
type NSG struct {
	Name  string
	Rules []Rule
}

// JSON is the group's document in the form of Azure's REST interface.
func (g NSG) JSON() string {
	rules := []any{}
	for _, r := range g.Rules {
		rules = append(rules, r.object())
	}
	data, err := json.Marshal(Object{
		"name": g.Name, "type": "Microsoft.Network/networkSecurityGroups",
		"properties": Object{"securityRules": rules},
	})
	if err != nil {
		panic(err) // rules are strings and numbers
	}
	return string(data)
}

// Unique makes a name of a test's own.
func Unique(prefix string) string { return fmt.Sprintf("%s-%05d", prefix, rand.IntN(100000)) }

// Documents puts groups in force, as a ConfigMap of their own that goes with the test.
// Pods that have one of the groups must go before: make their namespace afterwards.
func (c *Cluster) Documents(tb testing.TB, name string, groups ...NSG) {
	tb.Helper()
	tb.Cleanup(func() {
		if _, err := c.Kubectl("-n", SystemNamespace, "delete", "configmap", name, "--ignore-not-found"); err != nil {
			tb.Errorf("remove the documents: %v", err)
		}
	})
	c.Change(tb, name, groups...)
}

// Change replaces the groups of a ConfigMap.
func (c *Cluster) Change(tb testing.TB, name string, groups ...NSG) {
	tb.Helper()
	files := map[string]string{}
	for _, g := range groups {
		files[g.Name+".json"] = g.JSON()
	}
	c.ChangeFiles(tb, name, files)
}

// ChangeFiles replaces the files of a ConfigMap with documents.
func (c *Cluster) ChangeFiles(tb testing.TB, name string, files map[string]string) {
	tb.Helper()
	c.Apply(tb, Object{
		"apiVersion": "v1", "kind": "ConfigMap", "data": files,
		"metadata": Object{"name": name, "namespace": SystemNamespace, "labels": map[string]string{LabelDocuments: "yes"}},
	})
}
