package template

import (
	"fmt"
	"slices"
	"strings"
)

// scopeFunction finds the functions that ask where they stand: parameters, variables,
// resources and their ids. See
// learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-resource,
// …-scope and …-deployment.
func scopeFunction(name string) function {
	switch name {
	case "parameters":
		return function{1, 1, (*call).parameters}
	case "variables":
		return function{1, 1, (*call).variables}
	case "copyindex":
		return function{0, 2, (*call).copyIndex}
	case "resourceid":
		return function{2, -1, (*call).resourceID}
	case "subscriptionresourceid":
		return function{2, -1, (*call).subscriptionResourceID}
	case "tenantresourceid":
		return function{2, -1, func(c *call) (Value, error) { return idUnder("", c.args) }}
	case "extensionresourceid":
		return function{3, -1, (*call).extensionResourceID}
	case "resourcegroup":
		return function{0, 0, (*call).resourceGroup}
	case "subscription":
		return function{0, 0, (*call).subscription}
	case "deployment":
		return function{0, 0, (*call).deployment}
	case "reference":
		return function{1, 3, (*call).reference}
	case "references":
		return function{1, 2, (*call).references}
	case "resourceinfo":
		return function{1, 1, (*call).resourceInfo}
	}
	return function{}
}

func (c *call) parameters() (Value, error) {
	name, err := c.str(0)
	if err != nil {
		return nil, err
	}
	if !c.in.inUDF {
		return c.parameter(c.in.scope, name)
	}
	v, ok := c.in.args.get(name)
	if !ok {
		return nil, fmt.Errorf("the function has no parameter %s", quote(name))
	}
	return v, nil
}

func (c *call) variables() (Value, error) {
	name, err := c.str(0)
	if err != nil {
		return nil, err
	}
	if c.in.inUDF {
		return nil, fmt.Errorf("a function of the template sees no variables")
	}
	return c.variable(c.in.scope, name)
}

// resourceID is resourceId([subscription], [resource group], type, name…).
func (c *call) resourceID() (Value, error) {
	at := c.in.scope.place
	i := c.typeAt()
	switch i {
	case 0:
	case 1:
		at.group, _ = c.args[0].(string)
	case 2:
		at.subscription, _ = c.args[0].(string)
		at.group, _ = c.args[1].(string)
	default:
		return nil, fmt.Errorf("none of its first three arguments is a type such as Microsoft.Network/virtualNetworks")
	}
	if i > 0 && at.group == "" || i > 1 && at.subscription == "" {
		return nil, fmt.Errorf("the resource group or subscription is empty or no string")
	}
	return idUnder(at.String(), c.args[i:])
}

// typeAt returns which argument is the type: the first with a slash in it.
func (c *call) typeAt() int {
	return slices.IndexFunc(c.args, func(v Value) bool {
		s, _ := v.(string)
		return strings.Contains(s, "/")
	})
}

func (c *call) subscriptionResourceID() (Value, error) {
	at := place{subscription: c.in.scope.place.subscription}
	i := c.typeAt()
	if i == 1 {
		s, err := c.str(0)
		if err != nil {
			return nil, err
		}
		at.subscription = s
	}
	if i < 0 || i > 1 {
		return nil, fmt.Errorf("none of its first two arguments is a type such as Microsoft.Network/virtualNetworks")
	}
	return idUnder(at.String(), c.args[i:])
}

func (c *call) extensionResourceID() (Value, error) {
	base, err := c.str(0)
	if err != nil {
		return nil, err
	}
	return idUnder(base, c.args[1:])
}

// idUnder makes the id of a resource from its type and names. A type that ends with a slash
// is in many templates that Azure deploys.
func idUnder(base string, typeAndNames []Value) (Value, error) {
	words := make([]string, len(typeAndNames))
	for i, v := range typeAndNames {
		s, err := scalar(v)
		if err != nil {
			return nil, err
		}
		words[i] = s
	}
	return idOf(base, strings.TrimSuffix(words[0], "/"), words[1:])
}

// idOf puts types and names in turn: …/providers/Namespace/type/name/type/name.
func idOf(base, kind string, names []string) (string, error) {
	namespace, types, _ := strings.Cut(kind, "/")
	steps := strings.Split(types, "/")
	if len(steps) != len(names) {
		return "", fmt.Errorf("the type %s wants %d names, and there are %d", quote(kind), len(steps), len(names))
	}
	var out strings.Builder
	out.WriteString(strings.TrimRight(base, "/") + "/providers/" + namespace)
	for i, step := range steps {
		if names[i] == "" {
			return "", fmt.Errorf("a name for the type %s is empty", quote(kind))
		}
		out.WriteString("/" + step + "/" + names[i])
	}
	return out.String(), nil
}

func (p place) String() string {
	id := "/subscriptions/" + p.subscription
	if p.group != "" {
		id += "/resourceGroups/" + p.group
	}
	return id
}

func unknownOffline(what string) *Fault {
	return &Fault{Reason: fmt.Errorf("%s is known to Azure only", what)}
}

func (c *call) resourceGroup() (Value, error) {
	at := c.in.scope.place
	if at.group == "" {
		return nil, fmt.Errorf("the deployment is one to a subscription, which has no resource group")
	}
	id := at.String()
	if err := c.text(id); err != nil {
		return nil, err
	}
	out := &Object{}
	out.Set("id", id)
	out.Set("name", at.group)
	out.Set("type", "Microsoft.Resources/resourceGroups")
	out.Set("location", c.unknownLocation())
	for _, key := range []string{"tags", "managedBy", "properties"} {
		out.Set(key, unknownOffline("the resource group's "+key))
	}
	return out, nil
}

func (c *call) subscription() (Value, error) {
	at := c.in.scope.place
	id := "/subscriptions/" + at.subscription
	if err := c.text(id); err != nil {
		return nil, err
	}
	out := &Object{}
	out.Set("id", id)
	out.Set("subscriptionId", at.subscription)
	for _, key := range []string{"tenantId", "displayName"} {
		out.Set(key, unknownOffline("the subscription's "+key))
	}
	return out, nil
}

// deployment tells the deployment's name: of one within a template, its own.
func (c *call) deployment() (Value, error) {
	out := &Object{}
	out.Set("name", unknownOffline("the deployment's name"))
	if name := c.in.scope.deployment; name != "" {
		out.Set("name", name)
	}
	out.Set("location", c.unknownLocation())
	for _, key := range []string{"id", "properties"} {
		out.Set(key, unknownOffline("the deployment's "+key))
	}
	return out, nil
}
