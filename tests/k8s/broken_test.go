package k8s

import (
	"strings"
	"testing"
)

const (
	hub      = "base/hub/deployment.yaml"
	policy   = "base/hub/networkpolicy.yaml"
	entry    = "base/hub/ingress.yaml"
	nodes    = "base/hostsync/hostsync.yaml"
	cron     = "base/updater/updater.yaml"
	database = "overlays/single/mariadb.yaml"
	galera   = "overlays/ha/mariadb.yaml"
	scaling  = "components/replicas/replicas.yaml"
	values   = "components/values/kustomization.yaml"
)

// Each breaks one file on purpose. What is found must contain `finding`: a check that cannot fail checks nothing.
var broken = []struct {
	rule, deployment string
	edit
	finding string
}{
	{"render", "single", edit{"components/values/secrets/admin-password", "", ""}, "admin-password"},
	{"render", "external-db", edit{"overlays/external-db/ca.pem", "", ""}, "ca.pem"},
	{"render", "single", edit{values, "secretGenerator:", "secretGenerators:"}, "secretGenerators"},

	{"decode", "single", edit{hub, "minReadySeconds", "minimumReadySeconds"}, `unknown field "spec.minimumReadySeconds"`},
	{"decode", "single", edit{hub, "periodSeconds: 2", "periodSeconds: soon"}, "cannot unmarshal string"},
	{"decode", "single", edit{hub, "  selector:\n    matchLabels: {app.kubernetes.io/name: silodns-api}\n", ""}, ".spec.selector is missing"},
	{"decode", "single", edit{cron, `  schedule: "*/5 * * * *"`, ""}, ".spec.schedule is missing"},
	{"decode", "ha", edit{scaling, "  maxReplicas: 9\n", ""}, ".spec.maxReplicas is missing"},
	{"decode", "single", edit{nodes, "type: Directory", "type: Dir"}, `"Dir" is none of`},
	{"decode", "single", edit{cron, "concurrencyPolicy: Forbid", "concurrencyPolicy: forbid"}, `"forbid" is none of`},
	{"decode", "ha", edit{galera, "  tls: {enabled: true}", "  tsl: {enabled: true}"}, "unknown field tsl"},
	{"decode", "ha", edit{galera, "sst: mariabackup", "sst: clone"}, "clone is none of"},
	{"decode", "ha", edit{galera, "key: db-root-password", "optional: true"}, "rootPasswordSecretKeyRef.key is missing"},
	{"decode", "ha", edit{galera, "replicas: 3", "replicas: 2"}, "a quorum wants"},
	{"decode", "ha", edit{galera, "innodb_flush_log_at_trx_commit=1", "innodb_flush_log_at_trx_commit=2"}, "a commit is not durable"},
	{"decode", "ha", edit{galera, "runAsNonRoot: true", "runAsNonRoot: false"}, "securityContext is not restricted"},

	{"names", "single", edit{database, "kind: Service\nmetadata:\n  name: silodns-mariadb\n  namespace: silodns", "kind: Service\nmetadata:\n  name: silodns-mariadb\n  namespace: elsewhere"}, "no such namespace"},
	{"selectors", "single", edit{hub, "    metadata:\n      labels: {app.kubernetes.io/name: silodns-api}", "    metadata:\n      labels: {app.kubernetes.io/name: silodns}"}, "does not match its own pods"},
	{"selectors", "single", edit{"base/hub/service.yaml", "selector: {app.kubernetes.io/name: silodns-api}", "selector: {app.kubernetes.io/name: silodns}"}, "selects the pods of 0 workloads"},
	{"selectors", "single", edit{"base/hub/service.yaml", "targetPort: http", "targetPort: https"}, "no container has the port https"},
	{"selectors", "single", edit{policy, "- {port: http}", "- {port: https}"}, "no container has the port https"},
	{"selectors", "ha", edit{galera, "app.kubernetes.io/instance: silodns-mariadb}", "app.kubernetes.io/instance: silodns}"}, "selects no pod"},
	{"selectors", "ha", edit{scaling, "  selector:\n    matchLabels: {app.kubernetes.io/name: silodns-api}", "  selector:\n    matchLabels: {app.kubernetes.io/name: silodns}"}, "PodDisruptionBudget"},

	{"references", "single", edit{hub, "configMapRef: {name: silodns-api}", "configMapRef: {name: silodns}"}, "envFrom names no ConfigMap"},
	{"references", "single", edit{hub, "secretName: silodns-api", "secretName: silodns"}, "what the volume secrets names is not there"},
	{"references", "single", edit{hub, "/secrets/db-password", "/secrets/db_password"}, "names a file that no volume has"},
	{"references", "single", edit{hub, "serviceAccountName: silodns-api", "serviceAccountName: silodns"}, "no ServiceAccount"},
	{"references", "single", edit{"base/hub/serviceaccount.yaml", "automountServiceAccountToken: false", ""}, "has a token"},
	{"references", "single", edit{hub, "- {name: secrets, mountPath: /secrets, readOnly: true}", "- {name: secret, mountPath: /secrets, readOnly: true}"}, "there is no volume secret"},
	{"references", "single", edit{hub, "path: /healthz, port: http", "path: /healthz, port: https"}, "a probe asks the port https"},
	{"references", "single", edit{nodes, "priorityClassName: silodns-node", "priorityClassName: silodns"}, "no PriorityClass"},
	{"references", "single", edit{entry, "service: {name: silodns-api,", "service: {name: silodns,"}, "there is no Service silodns"},
	{"references", "ha", edit{hub, "spec:\n", "spec:\n  replicas: 3\n"}, "names replicas"},
	{"references", "updater-sidecar", edit{"examples/sidecar/web.yaml", "silodns/hostnames:", "silodns/names:"}, "no annotation silodns/hostnames"},

	{"pod-security", "single", edit{hub, "automountServiceAccountToken: false", ""}, "automountServiceAccountToken is not false"},
	{"pod-security", "single", edit{hub, "enableServiceLinks: false", ""}, "enableServiceLinks is not false"},
	{"pod-security", "single", edit{hub, "runAsUser: 10001", "runAsUser: 0"}, "may run as root"},
	{"pod-security", "single", edit{hub, "runAsNonRoot: true", ""}, "may run as root"},
	{"pod-security", "single", edit{hub, "drop: [ALL]", "drop: [ALL], add: [CHOWN]"}, "capabilities"},
	{"pod-security", "single", edit{hub, "allowPrivilegeEscalation: false", ""}, "allowPrivilegeEscalation"},
	{"pod-security", "single", edit{hub, "readOnlyRootFilesystem: true", ""}, "readOnlyRootFilesystem"},
	{"pod-security", "single", edit{hub, "seccompProfile: {type: RuntimeDefault}", ""}, "seccompProfile"},
	{"pod-security", "single", edit{hub, "secret: {secretName: silodns-api, defaultMode: 0440}", "hostPath: {path: /etc}"}, "mounts /etc of the node"},
	{"pod-security", "single", edit{nodes, "path: /etc,", "path: /,"}, "mounts / of the node"},
	{"pod-security", "single", edit{nodes, "      nodeSelector:", "      hostNetwork: true\n      nodeSelector:"}, "uses a namespace of the node"},
	{"pod-security", "single", edit{"base/hub/namespace.yaml", "enforce: restricted", "enforce: baseline"}, `enforces "baseline"`},

	{"containers", "single", edit{hub, "limits: {memory: 1Gi}", ""}, "are not all set"},
	{"containers", "single", edit{"components/images/kustomization.yaml", "newTag: 0.1.0", "newTag: latest"}, "has no version"},
	{"containers", "single", edit{database, "livenessProbe:\n            exec: {command: [healthcheck.sh, --connect]}\n            periodSeconds: 15\n            timeoutSeconds: 10\n            failureThreshold: 6\n", "stdin: false\n"}, "probes are missing"},
	{"containers", "single", edit{hub, "readinessProbe:\n            httpGet: {path: /healthz,", "readinessProbe:\n            httpGet: {path: /readyz,"}, "says no while the database is away"},
	{"containers", "single", edit{nodes, "readinessProbe:", "livenessProbe:"}, "says no while the hub or the database is away"},
	{"containers", "single", edit{hub, "failureThreshold: 302400", "failureThreshold: 30"}, "waits a day"},
	{"containers", "single", edit{hub, "{name: SILODNS_DB_PASSWORD_FILE, value: /secrets/db-password}", "{name: SILODNS_DB_PASSWORD, value: x}"}, "stands in the environment"},

	{"network", "single", edit{database, "    - from:\n        - podSelector: {matchLabels: {app.kubernetes.io/name: silodns-api}}", "    - from:\n        - podSelector: {}"}, "lets others than the hub to the database"},
	{"network", "single", edit{policy, "        - {port: http}\n", "        - {port: http}\n    - from: []\n"}, "lets anybody in"},
	{"network", "updater-sidecar", edit{"examples/sidecar/web.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]"}, "no NetworkPolicy covers it"},

	{"settings", "single", edit{"components/values/api.env", "SILODNS_HISTORY_AGE", "SILODNS_HISTORY"}, "SILODNS_HISTORY is no setting"},
	{"settings", "single", edit{hub, "- {name: SILODNS_DB_PASSWORD_FILE", "- {name: SILODNS_THREADS, value: \"4\"}\n            - {name: SILODNS_DB_PASSWORD_FILE"}, "SILODNS_THREADS=4 wins over"},
	{"settings", "single", edit{"components/values/hostsync.env", "SILODNS_SILOS=cluster\n", ""}, "needs SILODNS_SILOS"},
	{"settings", "single", edit{"components/values/updater.env", "SILODNS_ALLOW_PLAIN_HTTP=true\n", ""}, "credentials over http"},

	{"tokens", "single", edit{"components/values/api.env", "SILODNS_CLIENT_SILOS=cluster", "SILODNS_CLIENT_SILOS=other"}, "SILODNS_SILOS has cluster, for which the hub makes no token"},
	{"tokens", "single", edit{"components/values/updater.env", "SILODNS_HOSTNAMES=updater.cluster", "SILODNS_HOSTNAMES=db.cluster"}, "SILODNS_HOSTNAMES has db.cluster"},
	{"tokens", "updater-host", edit{"components/updater-host/updater.env", "SILODNS_HOSTNAMES=gateway.cluster", "SILODNS_HOSTNAMES=db.cluster"}, "SILODNS_HOSTNAMES has db.cluster"},
	{"tokens", "single", edit{values, "files: [secrets/hostsync-token]", "files: [secrets/hostsync-token, secrets/admin-password]"}, "is given admin-password"},
	{"tokens", "single", edit{nodes, "{name: SILODNS_TOKEN_FILE, value: /secrets/hostsync-token}", "{name: SILODNS_LOG_LEVEL, value: info}"}, "has no token"},

	{"rollout", "single", edit{hub, "maxUnavailable: 0", "maxUnavailable: 1"}, "maxUnavailable is not 0"},
	{"rollout", "single", edit{hub, "sleep: {seconds: 10}", "sleep: {seconds: 1}"}, "preStop"},
	{"rollout", "single", edit{hub, "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30"}, "shorter than"},
	{"rollout", "single", edit{nodes, "- {operator: Exists}", "- {operator: Exists, effect: NoSchedule}"}, "does not tolerate"},
	{"jobs", "single", edit{cron, "startingDeadlineSeconds: 120", ""}, "are not all there"},
	{"jobs", "single", edit{cron, "args: [--once]", "args: []"}, "would never end"},
	{"ingress", "single", edit{entry, `proxy-buffering: "off"`, `proxy-buffering: "on"`}, "proxy-buffering off"},
	{"ingress", "single", edit{entry, "          - {path: /users, pathType: Prefix, backend: *hub}\n", ""}, "/users of openapi.json is routed: false"},
	{"ingress", "single", edit{entry, "{path: /, pathType: Exact,", "{path: /, pathType: Prefix,"}, "/metrics of openapi.json is routed: true"},
	{"scrape", "single", edit{hub, `prometheus.io/port: "8080"`, `prometheus.io/port: "80"`}, "annotations for Prometheus"},
	{"scrape", "single", edit{"components/values/api.env", "SILODNS_METRICS=anyone\n", ""}, "may not"},
}

func TestBrokenManifestsAreFound(t *testing.T) {
	covered := map[string]bool{}
	for _, b := range broken {
		t.Run(b.rule+"/"+b.finding, func(t *testing.T) {
			w, wrong := load(t, b.deployment, b.edit)
			if check := rules[b.rule]; check != nil && w != nil {
				wrong = append(wrong, check(w)...)
			}
			if found := strings.Join(wrong, "\n"); !strings.Contains(found, b.finding) || found == "" {
				t.Errorf("%s: %q -> %q is not found; found is only:\n%s", b.file, b.old, b.new, found)
			}
		})
		covered[b.rule] = true
	}
	for rule := range rules {
		if !covered[rule] {
			t.Errorf("the rule %s has no broken manifest", rule)
		}
	}
}
