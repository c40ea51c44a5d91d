package k8s

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

var (
	writesHosts = []string{"silodns-hostsync", "silodns-hostsync-remove"} // may mount a node's /etc, as root
	seesNode    = []string{"silodns-updater-host"}                        // has the node's network
	version     = regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?([-.+][\w.]+)?$`)
)

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// The level "restricted" of Pod Security, and more: no token, a read-only root file system, no links to services.
func checkPodSecurity(w *world) (f findings) {
	for _, load := range w.workloads {
		spec := load.template.Spec
		if !isFalse(spec.AutomountServiceAccountToken) {
			f.add("%s: automountServiceAccountToken is not false", load)
		}
		if !isFalse(spec.EnableServiceLinks) {
			f.add("%s: enableServiceLinks is not false", load)
		}
		if spec.HostPID || spec.HostIPC || (spec.HostNetwork && !slices.Contains(seesNode, load.Name)) {
			f.add("%s: uses a namespace of the node", load)
		}
		f.checkVolumeKinds(load)
		for _, c := range allContainers(spec) {
			f.checkConfinement(load, c)
			for _, port := range c.Ports {
				if port.HostPort != 0 {
					f.add("%s, %s: takes a port of the node", load, c.Name)
				}
			}
		}
	}
	for _, namespace := range pick[*corev1.Namespace](w) {
		level, wanted := namespace.Labels["pod-security.kubernetes.io/enforce"], "restricted"
		if namespace.Name == "silodns-nodes" {
			wanted = "privileged"
		}
		if level != wanted {
			f.add("Namespace %s enforces %q, not %s", namespace.Name, level, wanted)
		}
	}
	return f
}

func (f *findings) checkVolumeKinds(load workload) {
	for _, volume := range load.template.Spec.Volumes {
		switch {
		case volume.HostPath != nil:
			if !slices.Contains(writesHosts, load.Name) || volume.HostPath.Path != "/etc" {
				f.add("%s: mounts %s of the node", load, volume.HostPath.Path)
			}
			if load.Namespace != "silodns-nodes" {
				f.add("%s: a hostPath is not allowed in the namespace %s", load, load.Namespace)
			}
		case volume.EmptyDir != nil:
			if volume.EmptyDir.SizeLimit == nil {
				f.add("%s: the volume %s has no sizeLimit", load, volume.Name)
			}
		case volume.Secret == nil && volume.ConfigMap == nil:
			f.add("%s: the volume %s is of a kind that is not needed here", load, volume.Name)
		}
	}
}

func (f *findings) checkConfinement(load workload, c corev1.Container) {
	wrong := func(what string) { f.add("%s, %s: %s", load, c.Name, what) }
	pod, own := load.template.Spec.SecurityContext, c.SecurityContext
	if own == nil || pod == nil {
		wrong("no securityContext")
		return
	}
	if !isFalse(own.AllowPrivilegeEscalation) {
		wrong("allowPrivilegeEscalation is not false")
	}
	if isTrue(own.Privileged) {
		wrong("privileged")
	}
	if !isTrue(own.ReadOnlyRootFilesystem) {
		wrong("readOnlyRootFilesystem is not true")
	}
	if own.Capabilities == nil || !slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(own.Capabilities.Add) > 0 {
		wrong("does not drop all capabilities, or adds some")
	}
	seccomp := pod.SeccompProfile
	if own.SeccompProfile != nil {
		seccomp = own.SeccompProfile
	}
	if seccomp == nil || seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault {
		wrong("seccompProfile is not RuntimeDefault")
	}
	user, nonRoot := pod.RunAsUser, pod.RunAsNonRoot
	if own.RunAsUser != nil {
		user = own.RunAsUser
	}
	if own.RunAsNonRoot != nil {
		nonRoot = own.RunAsNonRoot
	}
	mayBeRoot := slices.Contains(writesHosts, load.Name)
	if !mayBeRoot && (!isTrue(nonRoot) || user == nil || *user == 0) {
		wrong("may run as root")
	}
	if user == nil || (*user == 0) != (mayBeRoot && !isTrue(nonRoot)) {
		wrong("its user is not the one that it should have")
	}
}

// Requests and limits, a version, and probes where the container stays.
func checkContainers(w *world) (f findings) {
	for _, load := range w.workloads {
		stays := load.kind == "Deployment" || load.kind == "StatefulSet" || load.kind == "DaemonSet"
		for _, c := range allContainers(load.template.Spec) {
			wrong := func(format string, args ...any) {
				f.add("%s, %s: %s", load, c.Name, fmt.Sprintf(format, args...))
			}
			r := c.Resources
			if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || r.Limits.Memory().IsZero() {
				wrong("requests of cpu and memory and a limit of memory are not all set")
			}
			if !version.MatchString(c.Image) {
				wrong("image %s has no version", c.Image)
			}
			for _, env := range c.Env {
				if strings.HasSuffix(env.Name, "PASSWORD") || strings.HasSuffix(env.Name, "TOKEN") {
					wrong("%s stands in the environment: use %s_FILE", env.Name, env.Name)
				}
			}
			main := slices.ContainsFunc(load.template.Spec.Containers, func(other corev1.Container) bool { return other.Name == c.Name })
			program := programOf(c.Image)
			if stays && main && !strings.Contains(c.Image, "/pause:") {
				if c.ReadinessProbe == nil || (c.LivenessProbe == nil && program != "silodns-hostsync") {
					wrong("probes are missing")
				}
			}
			f.checkProbes(load, c, program)
		}
	}
	return f
}

// No probe may restart a pod, or take a hub out of service, because the database or the hub is away.
func (f *findings) checkProbes(load workload, c corev1.Container, program string) {
	if program == "" {
		return
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		if probe == nil {
			continue
		}
		if probe.HTTPGet != nil && probe.HTTPGet.Path != "/healthz" {
			f.add("%s, %s: probes %s, which says no while the database is away", load, c.Name, probe.HTTPGet.Path)
		}
		if probe.Exec != nil && (probe == c.LivenessProbe || program == "silodns-api") {
			f.add("%s, %s: %v says no while the hub or the database is away", load, c.Name, probe.Exec.Command)
		}
	}
	if program == "silodns-api" && (c.StartupProbe == nil || c.StartupProbe.HTTPGet == nil || c.StartupProbe.HTTPGet.Path != "/readyz" ||
		c.StartupProbe.FailureThreshold*c.StartupProbe.PeriodSeconds < 86400) {
		f.add("%s, %s: startupProbe: it joins when /readyz says that all is loaded, and waits a day for a database", load, c.Name)
	}
}

// Every pod is covered, both ways, and only the hub, the other nodes and the operator reach a database.
func checkNetwork(w *world) (f findings) {
	for _, load := range w.workloads {
		if load.template.Spec.HostNetwork {
			continue // policies do not hold for it
		}
		ways := map[networkingv1.PolicyType]bool{}
		for _, policy := range pick[*networkingv1.NetworkPolicy](w) {
			if policy.Namespace == load.Namespace && selects(&policy.Spec.PodSelector, load.template.Labels) {
				for _, way := range policy.Spec.PolicyTypes {
					ways[way] = true
				}
			}
		}
		if !ways[networkingv1.PolicyTypeIngress] || !ways[networkingv1.PolicyTypeEgress] {
			f.add("%s: no NetworkPolicy covers it both ways", load)
		}
	}
	for _, policy := range pick[*networkingv1.NetworkPolicy](w) {
		for _, rule := range policy.Spec.Ingress {
			if policy.Namespace == "silodns" && len(rule.From) == 0 {
				f.add("NetworkPolicy %s lets anybody in", policy.Name)
			}
			for _, peer := range rule.From {
				if isDatabase(policy.Spec.PodSelector.MatchLabels) && !mayReachDatabase(policy, peer) {
					f.add("NetworkPolicy %s lets others than the hub to the database", policy.Name)
				}
			}
		}
	}
	return f
}

func isDatabase(labels map[string]string) bool {
	return labels["app.kubernetes.io/name"] == "mariadb" || labels["app.kubernetes.io/name"] == "silodns-mariadb"
}

func mayReachDatabase(policy *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer) bool {
	galera := policy.Name == "silodns-galera"
	if peer.NamespaceSelector != nil {
		return galera && peer.PodSelector == nil && peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] == "mariadb-operator"
	}
	if peer.PodSelector == nil || peer.IPBlock != nil {
		return false
	}
	name := peer.PodSelector.MatchLabels["app.kubernetes.io/name"]
	return name == "silodns-api" || (galera && name == "mariadb")
}

// The operator makes the pods of a MariaDB; what it is told about them is held to the same rules.
func (w *world) checkMariaDB(spec map[string]any) (f findings) {
	at := func(path string) any {
		var value any = spec
		for _, name := range strings.Split(path, ".") {
			m, _ := value.(map[string]any)
			value = m[name]
		}
		return value
	}
	for _, part := range []string{"", "galera.agent.", "galera.initContainer."} {
		if at(part+"securityContext.runAsNonRoot") != true || at(part+"securityContext.allowPrivilegeEscalation") != false ||
			fmt.Sprint(at(part+"securityContext.capabilities.drop")) != "[ALL]" {
			f.add("%ssecurityContext is not restricted", part)
		}
		if image, _ := at(part + "image").(string); !version.MatchString(image) {
			f.add("%simage %q has no version", part, image)
		}
		if at(part+"resources.requests.cpu") == nil || at(part+"resources.requests.memory") == nil || at(part+"resources.limits.memory") == nil {
			f.add("%sresources are not set", part)
		}
	}
	if at("podSecurityContext.runAsNonRoot") != true || at("podSecurityContext.seccompProfile.type") != "RuntimeDefault" {
		f.add("podSecurityContext is not restricted")
	}
	if n, _ := at("replicas").(float64); n < 3 || int(n)%2 == 0 {
		f.add("replicas is %v: a quorum wants an odd number, three or more", n)
	}
	if conf, _ := at("myCnf").(string); !strings.Contains(conf, "innodb_flush_log_at_trx_commit=1\n") || !strings.Contains(conf, "wsrep_sync_wait=1\n") {
		f.add("myCnf: a commit is not durable, or another node may not show it")
	}
	return f
}
