package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The programs of a control plane, as they are named in the folder of assets.
const (
	etcd                  = "etcd"
	apiServer             = "kube-apiserver"
	kubeControllerManager = "kube-controller-manager"
	kubectl               = "kubectl"
)

// assetsVariable names the folder of programs.
const assetsVariable = "KUBEBUILDER_ASSETS"

// inputsVariable changes with every source file. Go keeps the result of a test until something changes that the test was
// seen to read, and what is read in other processes (a manifest by kubectl, the program under test) is not seen. So whoever
// starts a cluster reads this variable.
const inputsVariable = "TEST_INPUTS"

// assets finds the folder of programs and checks that it has those which the options ask for.
func assets(options Options) (string, error) {
	_ = os.Getenv(inputsVariable)
	folder := options.Assets
	if folder == "" {
		folder = os.Getenv(assetsVariable)
	}
	if folder == "" {
		folder = built()
	}
	if folder == "" {
		return "", errors.New("no control plane to start: " + assetsVariable + " is not set, and none was built; run: make controlplane (make test does so by itself)")
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	needed := []string{etcd, apiServer, kubectl}
	if options.ControllerManager {
		needed = append(needed, kubeControllerManager)
	}
	var missing []string
	for _, program := range needed {
		if _, err := os.Stat(filepath.Join(folder, program)); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("no %s in %s; unset %s and run: make controlplane", strings.Join(missing, ", "), folder, assetsVariable)
	}
	return folder, nil
}

// built returns the folder that `make controlplane` fills in the checkout around the working directory, where Go runs
// tests, or nothing if it has not been filled at the version that the checkout wants.
func built() string {
	folder, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		pins, err := os.ReadFile(filepath.Join(folder, "hack", "controlplane", "go.mod"))
		if err == nil {
			return builtAt(folder, string(pins))
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return ""
		}
		folder = parent
	}
}

func builtAt(root, pins string) string {
	match := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)`).FindStringSubmatch(pins)
	if match == nil {
		return ""
	}
	folder := filepath.Join(root, "bin", "k8s", match[1])
	if _, err := os.Stat(folder); err != nil {
		return ""
	}
	return folder
}
