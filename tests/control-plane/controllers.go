package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	cacheddiscovery "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	k8sscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/controller-manager/pkg/clientbuilder"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	serviceaccountcontroller "k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus"
	"k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

const (
	// How often the garbage collector looks for new kinds. Upstream it is 30 s; tests install CRDs and then wait for it.
	discoveryPeriod = 5 * time.Second
	// How often the namespace controller looks at every namespace again, as upstream.
	namespaceResync = 5 * time.Minute
	// How often informers replay what they hold, as upstream.
	informerResync = 12 * time.Hour
)

// settings has the flags of the real kube-controller-manager that the harness uses, under their own names, so that the real
// program can take this one's place.
type settings struct {
	kubeconfig            string
	controllers           string
	serviceAccountKeyFile string
	rootCAFile            string
	qps                   float64
	burst                 int
}

// deps is what the controllers share.
type deps struct {
	settings
	root      rest.Config
	clients   clientbuilder.ControllerClientBuilder
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	generic   informerfactory.InformerFactory
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	started   chan struct{}
}

// controllers by the names that the real program's --controllers uses. Each gets the client of its own ServiceAccount in
// kube-system, whose rights are the API server's own bootstrap roles: a policy that names such an account sees it here too.
var controllers = map[string]func(context.Context, *deps) (func(context.Context), error){
	"serviceaccount-token-controller":             tokens,
	"serviceaccount-controller":                   serviceAccounts,
	"root-ca-certificate-publisher-controller":    rootCA,
	"namespace-controller":                        namespaces,
	"garbage-collector-controller":                garbage,
	"clusterrole-aggregation-controller":          aggregation,
	"validatingadmissionpolicy-status-controller": policyStatus,
}

func runControllerManager() int {
	klog.InitFlags(nil)
	var s settings
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig of system:kube-controller-manager")
	flag.StringVar(&s.controllers, "controllers", "", "comma-separated names of the controllers to run; empty for all this program has")
	flag.StringVar(&s.serviceAccountKeyFile, "service-account-private-key-file", "", "key that signs the tokens in Secrets")
	flag.StringVar(&s.rootCAFile, "root-ca-file", "", "certificates that the tokens in Secrets and kube-root-ca.crt carry")
	flag.Float64Var(&s.qps, "kube-api-qps", 20, "requests a second to the API server, of each controller")
	flag.IntVar(&s.burst, "kube-api-burst", 30, "requests at once to the API server, of each controller")
	// Accepted because the real program needs them; this one knows no other way.
	flag.Bool("use-service-account-credentials", true, "always so")
	flag.Bool("leader-elect", false, "never")
	flag.Int("secure-port", 0, "nothing is served")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer klog.Flush()
	if err := run(ctx, s); err != nil && !errors.Is(err, context.Canceled) {
		klog.ErrorS(err, "kube-controller-manager cannot run")
		return 1
	}
	return 0
}

func run(ctx context.Context, s settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("read --kubeconfig: %w", err)
	}
	config.QPS, config.Burst = float32(s.qps), s.burst
	if err := waitForServer(ctx, config); err != nil {
		return err
	}
	d, err := newDeps(s, config)
	if err != nil {
		return err
	}
	wanted, err := selected(s.controllers)
	if err != nil {
		return err
	}
	var loops []func(context.Context)
	for _, name := range wanted {
		named := klog.NewContext(ctx, klog.FromContext(ctx).WithName(name))
		loop, err := controllers[name](named, d)
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		loops = append(loops, func(context.Context) { loop(named) })
	}
	d.generic.Start(ctx.Done())
	close(d.started)
	var wg sync.WaitGroup
	for _, loop := range loops {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
	return nil
}

// selected gives the wanted controllers, the token controller first: it is what upstream starts first too.
func selected(list string) ([]string, error) {
	names := []string{"serviceaccount-token-controller"}
	if list == "" || list == "*" {
		for name := range controllers {
			if name != names[0] {
				names = append(names, name)
			}
		}
		return names, nil
	}
	for _, name := range strings.Split(list, ",") {
		if _, known := controllers[name]; !known {
			return nil, fmt.Errorf("--controllers names %q, which this program does not have", name)
		}
		if name != names[0] {
			names = append(names, name)
		}
	}
	return names, nil
}

// waitForServer waits as long as it takes: the processes of a control plane start, and are killed, in any order.
func waitForServer(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/healthz").DoRaw(ctx)
		return err == nil, nil
	})
}

func newDeps(s settings, config *rest.Config) (*deps, error) {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(config), "shared-informers"))
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(rest.AddUserAgent(rest.CopyConfig(config), "metadata-informers"))
	if err != nil {
		return nil, err
	}
	// Nobody here reads managed fields, and they are half of what an object weighs.
	trim := func(object any) (any, error) {
		if accessor, err := meta.Accessor(object); err == nil {
			accessor.SetManagedFields(nil)
		}
		return object, nil
	}
	shared := informers.NewSharedInformerFactoryWithOptions(client, informerResync, informers.WithTransform(trim))
	metadataInformers := metadatainformer.NewSharedInformerFactoryWithOptions(
		metadataClient, informerResync, metadatainformer.WithTransform(trim))
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cacheddiscovery.NewMemCacheClient(client.Discovery()))
	return &deps{
		settings: s,
		root:     *config,
		clients: clientbuilder.NewDynamicClientBuilder(
			rest.AnonymousClientConfig(config), client.CoreV1(), "kube-system"),
		client:    client,
		informers: shared,
		generic:   informerfactory.NewInformerFactory(shared, metadataInformers),
		mapper:    mapper,
		started:   make(chan struct{}),
	}, nil
}

func tokens(ctx context.Context, d *deps) (func(context.Context), error) {
	key, err := keyutil.PrivateKeyFromFile(d.serviceAccountKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read --service-account-private-key-file: %w", err)
	}
	ca, err := os.ReadFile(d.rootCAFile)
	if err != nil {
		return nil, fmt.Errorf("read --root-ca-file: %w", err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, key)
	if err != nil {
		return nil, err
	}
	c, err := serviceaccountcontroller.NewTokensController(klog.FromContext(ctx),
		d.informers.Core().V1().ServiceAccounts(), d.informers.Core().V1().Secrets(), d.client,
		serviceaccountcontroller.TokensControllerOptions{TokenGenerator: generator, RootCA: ca})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 5) }, nil
}

func serviceAccounts(ctx context.Context, d *deps) (func(context.Context), error) {
	client, err := d.clients.Client("service-account-controller")
	if err != nil {
		return nil, err
	}
	c, err := serviceaccountcontroller.NewServiceAccountsController(klog.FromContext(ctx),
		d.informers.Core().V1().ServiceAccounts(), d.informers.Core().V1().Namespaces(), client,
		serviceaccountcontroller.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func rootCA(_ context.Context, d *deps) (func(context.Context), error) {
	ca, err := os.ReadFile(d.rootCAFile)
	if err != nil {
		return nil, fmt.Errorf("read --root-ca-file: %w", err)
	}
	client, err := d.clients.Client("root-ca-cert-publisher")
	if err != nil {
		return nil, err
	}
	c, err := rootcacertpublisher.NewPublisher(
		d.informers.Core().V1().ConfigMaps(), d.informers.Core().V1().Namespaces(), client, ca)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func namespaces(ctx context.Context, d *deps) (func(context.Context), error) {
	config, err := d.clients.Config("namespace-controller")
	if err != nil {
		return nil, err
	}
	// Emptying a namespace is a lot of small calls; these are upstream's own factors.
	config.QPS *= 20
	config.Burst *= 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := namespace.NewNamespaceController(ctx, client, metadataClient, client.Discovery().ServerPreferredNamespacedResources,
		d.informers.Core().V1().Namespaces(), namespaceResync, v1.FinalizerKubernetes)
	return func(ctx context.Context) { c.Run(ctx, 10) }, nil
}

func garbage(ctx context.Context, d *deps) (func(context.Context), error) {
	const account = "generic-garbage-collector"
	client, err := d.clients.Client(account)
	if err != nil {
		return nil, err
	}
	discovery, err := d.clients.DiscoveryClient(account)
	if err != nil {
		return nil, err
	}
	config, err := d.clients.Config(account)
	if err != nil {
		return nil, err
	}
	// Deleting takes two calls.
	config.QPS *= 2
	deleter, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	watcher, err := metadata.NewForConfig(&d.root)
	if err != nil {
		return nil, err
	}
	graph := garbagecollector.NewDependencyGraphBuilder(ctx, watcher, d.mapper, garbagecollector.DefaultIgnoredResources(),
		d.generic, d.started)
	c, err := garbagecollector.NewComposedGarbageCollector(ctx, client, deleter, d.mapper, graph)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		go c.Sync(ctx, discovery, discoveryPeriod)
		c.Run(ctx, 20, 30*time.Second)
	}, nil
}

func aggregation(_ context.Context, d *deps) (func(context.Context), error) {
	client, err := d.clients.Client("clusterrole-aggregation-controller")
	if err != nil {
		return nil, err
	}
	c := clusterroleaggregation.NewClusterRoleAggregation(d.informers.Rbac().V1().ClusterRoles(), client.RbacV1())
	return func(ctx context.Context) { c.Run(ctx, 5) }, nil
}

func policyStatus(_ context.Context, d *deps) (func(context.Context), error) {
	const account = "validatingadmissionpolicy-status-controller"
	discovery, err := d.clients.DiscoveryClient(account)
	if err != nil {
		return nil, err
	}
	client, err := d.clients.Client(account)
	if err != nil {
		return nil, err
	}
	checker := &validating.TypeChecker{
		SchemaResolver: resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, k8sscheme.Scheme, apiextensionsscheme.Scheme).
			Combine(&resolver.ClientDiscoveryResolver{Discovery: discovery}),
		RestMapper: d.mapper,
	}
	c, err := validatingadmissionpolicystatus.NewController(
		d.informers.Admissionregistration().V1().ValidatingAdmissionPolicies(),
		client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), checker)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 5) }, nil
}
