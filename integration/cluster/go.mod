module github.com/vnet-cni/vnet-cni/integration/cluster

go 1.26.0
