/**
 * What the process is doing, for a bug report: stack, memory, open handles. Taken from Node's own
 * report, of which the environment (it holds secrets), the command line and the names of hosts (it
 * would ask the DNS, and wait) are left out.
 */

interface NodeReport {
  readonly header?: { readonly nodejsVersion?: unknown };
  readonly javascriptStack?: unknown;
  readonly javascriptHeap?: unknown;
  readonly resourceUsage?: unknown;
  readonly libuv?: readonly { readonly type?: string; readonly is_active?: boolean }[];
  readonly workers?: readonly NodeReport[];
}

export function diagnosticReport(): Readonly<Record<string, unknown>> {
  // Known to Node since 22.0, to its types not yet.
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as NodeReport;
  return {
    node: process.versions.node,
    uptimeSeconds: Math.round(process.uptime()),
    memory: process.memoryUsage(),
    resourceUsage: report.resourceUsage,
    heap: report.javascriptHeap,
    stack: report.javascriptStack,
    handles: countHandles(report),
    workers: report.workers?.map((worker) => ({
      stack: worker.javascriptStack,
      handles: countHandles(worker),
    })),
  };
}

/** `{ tcp: 3, timer: 1 }`, of those that are active. */
function countHandles(report: NodeReport): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { type, is_active: isActive } of report.libuv ?? [])
    if (isActive && type !== undefined) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}
