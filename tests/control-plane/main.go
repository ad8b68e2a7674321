// Command control-plane is the part of Kubernetes that Fleetform's tests and demo need, as one program: its first argument
// names the component to be, so that every component is a process of its own and can be killed alone.
package main

import (
	"fmt"
	"io"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// exitWithStdin, when set in the environment, ties the process to whoever holds the other end of its standard input: when
// that end is closed, because its owner closed it or died of whatever cause, the process ends too.
const exitWithStdin = "CONTROL_PLANE_EXIT_WITH_STDIN"

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	component := os.Args[1]
	// Every component reads its flags from os.Args, and finds there what its own program would find.
	os.Args = append([]string{component}, os.Args[2:]...)
	if os.Getenv(exitWithStdin) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(runControllerManager())
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager [FLAG...]")
	os.Exit(2)
}
