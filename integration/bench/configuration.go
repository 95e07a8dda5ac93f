package main

import "path/filepath"

// object is a JSON object.
type object = map[string]any

// Each contender has its own addresses, so that all may be on one node.

// vnetConf leases from the node's pool in the fabric's subnet, announced there.
func vnetConf(network, dir string, pools ...object) object {
	return object{
		"cniVersion": "1.0.0", "name": network, "type": "vnet", "mode": "vnet",
		"stateDir": filepath.Join(dir, "vnet"), "ipam": object{"type": "vnet-ipam", "pools": pools},
	}
}

func pool(subnet, ranges string) object {
	return object{"subnet": subnet, "ranges": []string{ranges}}
}

// ipamConf leases from a pool too large to fill.
func ipamConf(network, dir string) object {
	return object{
		"cniVersion": "1.0.0", "name": network, "type": "vnet-ipam",
		"stateDir": filepath.Join(dir, "vnet"), "ipam": object{"type": "vnet-ipam", "pools": []object{{"subnet": largePool}}},
	}
}

func hostLocal(subnet, dir string) object {
	return object{
		"type": "host-local", "dataDir": filepath.Join(dir, "host-local"),
		"ranges": [][]object{{{"subnet": subnet}}}, "routes": []object{{"dst": "0.0.0.0/0"}},
	}
}

func hostLocalConf(network, dir string) object {
	return object{"cniVersion": "1.0.0", "name": network, "type": "host-local", "ipam": hostLocal(largePool, dir)}
}

func ptpConf(dir string) object {
	return object{
		"cniVersion": "1.0.0", "name": "ptp", "type": "ptp", "ipMasq": false, "mtu": 1500,
		"ipam": hostLocal("10.88.0.0/16", dir),
	}
}

func bridgeConf(dir string) object {
	return object{
		"cniVersion": "1.0.0", "name": "bridge", "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
		"mtu": 1500, "ipam": hostLocal("10.89.0.0/16", dir),
	}
}
