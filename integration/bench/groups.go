package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// servedPort is where a pod under a group's rules listens: only the last of its
// own rules allows that.
const servedPort = 5201

// rule is a security rule as az writes it.
func rule(name string, priority int, access, protocol, source, port string) object {
	return object{
		"name": name, "priority": priority, "direction": "Inbound", "access": access, "protocol": protocol,
		"sourceAddressPrefix": source, "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": port,
	}
}

// realistic makes rules as large groups have them: single ports and ranges, lists
// of prefixes, application security groups. The last one allows servedPort.
func realistic(rules int) []object {
	list := make([]object, 0, rules)
	for i := range rules - 1 {
		name, access := fmt.Sprintf("rule-%d", i), []string{"Allow", "Deny"}[i%2]
		port := fmt.Sprint(10000 + i)
		var r object
		switch i % 5 {
		case 0:
			r = rule(name, 100+i, access, "Tcp", fmt.Sprintf("172.%d.%d.0/24", 16+i%16, i/16%256), "443")
		case 1:
			r = rule(name, 100+i, access, "Tcp", "VirtualNetwork", fmt.Sprintf("%s-%d", port, 10000+i+i%40))
		case 2:
			r = rule(name, 100+i, access, "*", "", "8000-8080")
			delete(r, "sourceAddressPrefix")
			r["sourceAddressPrefixes"] = []string{
				fmt.Sprintf("20.%d.%d.0/24", i%200, i/200), fmt.Sprintf("40.%d.%d.0/25", i%200, i/200), fmt.Sprintf("52.%d.%d.0/23", i%200, 2*(i/200)),
			}
		case 3:
			r = rule(name, 100+i, access, "Tcp", "", port)
			delete(r, "sourceAddressPrefix")
			r["sourceApplicationSecurityGroups"] = []object{{"id": fmt.Sprintf("/applicationSecurityGroups/asg-%d", i%20)}}
		case 4:
			r = rule(name, 100+i, access, "Udp", "Internet", port)
		}
		list = append(list, r)
	}
	return append(list, rule("served", 4096, "Allow", "Tcp", "VirtualNetwork", fmt.Sprint(servedPort)))
}

// adversarial makes rules that differ in the sources only, each with one list
// that reaches from one end of the addresses to the other: no cut tells many of
// them apart.
func adversarial(rules int) []object {
	list := make([]object, 0, rules)
	for i := range rules - 1 {
		r := rule(fmt.Sprintf("rule-%d", i), 100+i, "Deny", "Tcp", "", fmt.Sprint(servedPort))
		delete(r, "sourceAddressPrefix")
		r["sourceAddressPrefixes"] = []string{fmt.Sprintf("1.%d.%d.7/32", i/256, i%256), fmt.Sprintf("223.%d.%d.7/32", 255-i/256, 255-i%256)}
		list = append(list, r)
	}
	return append(list, rule("served", 4096, "Allow", "Tcp", "VirtualNetwork", fmt.Sprint(servedPort)))
}

// group is a network security group as az writes it.
func group(name string, rules []object) object {
	return object{"name": name, "type": "Microsoft.Network/networkSecurityGroups", "securityRules": rules}
}

// document writes groups into a file of the world and returns its path.
func (w *world) document(groups ...object) (string, error) {
	path := filepath.Join(w.dir, "groups.json")
	raw, err := json.Marshal(groups)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// judgedIn is our plugin with the document; its group "subnet" is the subnet's.
func (b *bench) judgedIn(w *world, document string) (plugin, error) {
	conf := vnetConf("pods", w.dir, pool("10.241.0.0/16", "10.241.4.0/22"))
	conf["nsg"] = object{"documents": []string{document}, "subnet": "subnet"}
	return newPlugin(b.vnet, conf)
}
