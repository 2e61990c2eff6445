{{/* Names and labels that every object shares. */}}
{{- define "anabranch.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "anabranch.selector" -}}
app.kubernetes.io/name: anabranch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "anabranch.labels" -}}
{{ include "anabranch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "anabranch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "anabranch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "anabranch.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* Nobody's user, nothing to write to but /data and /tmp, no way to become more. */}}
{{- define "anabranch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "anabranch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "anabranch.env" -}}
# Where the other pods hear what this one's jobs write: `--advertise`.
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: ANABRANCH_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret | quote }}
      key: {{ .Values.database.key | quote }}
{{- if .Values.rootKey.existingSecret }}
- name: ANABRANCH_ROOT_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.rootKey.existingSecret | quote }}
      key: {{ .Values.rootKey.key | quote }}
{{- end }}
{{- range .Values.secretEnv }}
- name: {{ .name | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}

{{- define "anabranch.mounts" -}}
- name: config
  mountPath: /etc/anabranch/config
  readOnly: true
{{- if .Values.flows }}
- name: flows
  mountPath: /etc/anabranch/flows
  readOnly: true
{{- end }}
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "anabranch.volumes" -}}
- name: config
  configMap:
    name: {{ include "anabranch.name" . }}-config
{{- if .Values.flows }}
- name: flows
  configMap:
    name: {{ include "anabranch.name" . }}-flows
{{- end }}
- name: data
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* One Deployment: {root, role, replicas, resources, args}. */}}
{{- define "anabranch.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "anabranch.name" $root }}-{{ .role }}
  labels:
    {{- include "anabranch.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "anabranch.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .role }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        {{- include "anabranch.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .role }}
      annotations:
        # Another configuration is another pod.
        anabranch.dev/config: {{ include "anabranch.config" $root | sha256sum | quote }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "anabranch.serviceAccount" $root }}
      automountServiceAccountToken: false
      # Longer than the drain, with what the load balancer takes to notice and a margin to write the last of it.
      terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds 20 }}
      securityContext:
        {{- include "anabranch.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: anabranch
          image: {{ include "anabranch.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args:
            {{- toYaml .args | nindent 12 }}
          env:
            {{- include "anabranch.env" $root | nindent 12 }}
          ports:
            - name: http
              containerPort: 7117
          # Long enough for migrations that another pod is at.
          startupProbe:
            httpGet: { path: /healthz, port: http }
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: { path: /healthz, port: http }
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /readyz, port: http }
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          lifecycle:
            # The address leaves the Service before the process begins to drain. The image has no shell to sleep in.
            preStop:
              sleep: { seconds: 5 }
          resources:
            {{- toYaml .resources | nindent 12 }}
          securityContext:
            {{- include "anabranch.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            {{- include "anabranch.mounts" $root | nindent 12 }}
      volumes:
        {{- include "anabranch.volumes" $root | nindent 8 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "anabranch.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .role }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
