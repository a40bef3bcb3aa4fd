/**
 * Answers of a plugin's process, checked before anybody believes them: a thread's host is our own
 * text, what answers from another process may be anything. Pure.
 */

import type { ProcessEnded } from '../../workers/process-protocol.ts';
import type { ConfigProblem, PluginShape } from '../../workers/protocol.ts';
import { PluginError } from '../base/errors.ts';

/** `remote`, whose answers of another shape become MKTS_LINE_INVALID. */
export function checkedAnswers(plugin: string, remote: PluginShape): PluginShape {
  const checked = async <T>(
    answer: Promise<T>,
    isValid: (value: unknown) => boolean,
  ): Promise<T> => {
    const value = await answer;
    if (isValid(value)) return value;
    throw new PluginError('MKTS_LINE_INVALID', { plugin, reason: 'an answer of no known shape' });
  };
  return {
    load: () => checked(remote.load(), isOutcomeOf(isDescription)),
    configure: () => checked(remote.configure(), isListOf(isProblem)),
    start: (...args) => checked(remote.start(...args), isOutcome),
    fire: (batch) => checked(remote.fire(batch), isOutcome),
    park: () => checked(remote.park(), isOutcome),
    stop: () => checked(remote.stop(), isOutcome),
  };
}

/** Is this a comlink answer with a plain value, or with something thrown? */
export function isPlainAnswer(message: unknown): boolean {
  if (!isRecord(message) || typeof message.id !== 'string') return false;
  const { type, name, value } = message;
  if (type === 'RAW') return true;
  return (
    type === 'HANDLER' && name === 'throw' && isRecord(value) && typeof value.isError === 'boolean'
  );
}

/** Is this how a process says that its worker ended? */
export function isProcessEnded(message: unknown): message is ProcessEnded {
  return (
    isRecord(message) &&
    Number.isSafeInteger(message.exitCode) &&
    typeof message.isOutOfMemory === 'boolean' &&
    (message.error === undefined || isPlainError(message.error))
  );
}

type Check = (value: unknown) => boolean;

const isOutcome: Check = isOutcomeOf(() => true);

function isOutcomeOf(isValue: Check): Check {
  return (outcome) => {
    if (!isRecord(outcome)) return false;
    const { ok, value, error } = outcome;
    if (ok === true) return isValue(value);
    return ok === false && isPlainError(error);
  };
}

function isPlainError(error: unknown): boolean {
  return (
    isRecord(error) &&
    isText(error.name) &&
    isText(error.message) &&
    (error.code === undefined || isText(error.code)) &&
    (error.stack === undefined || isText(error.stack)) &&
    isRecord(error.fields)
  );
}

function isDescription(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { kind, name, version, api, network, networkFromConfig, writes, secrets, builtins } = value;
  return (
    [kind, name, version].every(isText) &&
    typeof api === 'number' &&
    [network, networkFromConfig, secrets, builtins].every(isListOf(isText)) &&
    (writes === undefined || isListOf(isText)(writes)) &&
    (value.configSchema === undefined || isText(value.configSchema))
  );
}

function isProblem(value: unknown): boolean {
  const { path, problem } = (isRecord(value) ? value : {}) as Partial<ConfigProblem>;
  return isText(problem) && isListOf((part) => isText(part) || typeof part === 'number')(path);
}

function isListOf(isItem: Check): Check {
  return (value) => Array.isArray(value) && value.every(isItem);
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
