package arm

import "strings"

// resourceKind is which resource an object is.
type resourceKind uint8

const (
	unknown resourceKind = iota
	securityGroup
	virtualNetwork
	applicationGroup
	routeTable
	serviceTags
)

// kindOf tells what an object is: by its type, else by its id's provider path,
// else by its shape. An application security group has no shape of its own.
func kindOf(v value) resourceKind {
	if v.kind() != objectKind {
		return unknown
	}
	if t := typeOf(v); t != "" {
		return kindOfType(t)
	}
	return kindOfShape(v)
}

func kindOfType(t string) resourceKind {
	const provider = "microsoft.network/"
	t = strings.ToLower(t)
	if !strings.HasPrefix(t, provider) {
		return unknown
	}
	switch t[len(provider):] {
	case "networksecuritygroups":
		return securityGroup
	case "virtualnetworks":
		return virtualNetwork
	case "applicationsecuritygroups":
		return applicationGroup
	case "routetables":
		return routeTable
	case "servicetags":
		return serviceTags
	}
	return unknown
}

// typeOf returns the resource type that an object states or that its id tells,
// or "".
func typeOf(v value) string {
	if t := v.get("type").string(); t != "" {
		return t
	}
	return typeOfID(v.get("id").string())
}

// typeOfID takes Microsoft.Network/virtualNetworks/subnets from
// /…/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME.
func typeOfID(id string) string {
	const mark = "/providers/"
	at := strings.LastIndex(strings.ToLower(id), mark)
	if at < 0 || len(strings.ToLower(id)) != len(id) { // a letter whose case changes its length
		return ""
	}
	segments := strings.Split(id[at+len(mark):], "/")
	t := segments[0]
	for i := 1; i < len(segments); i += 2 {
		t += "/" + segments[i]
	}
	return t
}

func kindOfShape(v value) resourceKind {
	r := open(v)
	switch {
	case r.has("securityRules") || r.has("defaultSecurityRules"):
		return securityGroup
	case r.has("addressSpace"):
		return virtualNetwork
	case r.get("routes").kind() == listKind:
		return routeTable
	case v.get("values").kind() == listKind && (v.get("cloud").given() || v.get("changeNumber").given()):
		return serviceTags
	}
	return unknown
}

// isTemplate knows an ARM template. Bicep's compiled ones have either key too.
func isTemplate(v value) bool {
	return v.get("resources").given() && (v.get("$schema").given() || v.get("contentVersion").given())
}

// isParameters knows a template's parameter file.
func isParameters(v value) bool {
	return strings.Contains(strings.ToLower(v.get("$schema").string()), "deploymentparameters") ||
		v.get("contentVersion").given() && v.get("parameters").kind() == objectKind && !v.get("resources").given()
}

// partsOf returns the key under which a parent lists the parts that a child resource's
// type stands for; "" if no such list is read.
func partsOf(t string) string {
	const provider = "microsoft.network/"
	t = strings.ToLower(t)
	if !strings.HasPrefix(t, provider) {
		return ""
	}
	switch t[len(provider):] {
	case "networksecuritygroups/securityrules":
		return "securityRules"
	case "virtualnetworks/subnets":
		return "subnets"
	case "virtualnetworks/virtualnetworkpeerings":
		return "virtualNetworkPeerings"
	case "routetables/routes":
		return "routes"
	}
	return ""
}

// ofNetwork reports whether a child resource's type is part of a virtual network.
func ofNetwork(t string) bool {
	return strings.HasPrefix(strings.ToLower(t), "microsoft.network/virtualnetworks/")
}

// onlyMember returns the value of an object's only member.
func onlyMember(v value) value {
	var only value
	count := 0
	for _, member := range v.members() {
		if only, count = member, count+1; count > 1 {
			return value{}
		}
	}
	return only
}

// described is how many keys tell what an object is.
const described = 5

// describe says what a value without a type is.
func describe(v value) string {
	if v.kind() != objectKind {
		return v.kind().String()
	}
	var keys []string
	for key := range v.members() {
		if len(keys) == described {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, word(key.string()))
	}
	if len(keys) == 0 {
		return "an empty object"
	}
	return "an object without a known type, with the keys " + strings.Join(keys, ", ")
}
