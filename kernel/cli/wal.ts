/** `mkts tool wal`: prints what logs say: a line for each thing, or one JSON text a line. */

import { relative, resolve } from 'node:path';
import { realFilesystem } from '../storage/filesystem.ts';
import { describeLog, type LogItem, type LogPart } from '../tools/describe-log.ts';
import { print } from './print.ts';
import { timeText, zoneOf } from './tool-texts.ts';

export interface WalCommand {
  readonly path: string;
  readonly timezone: string;
  readonly json: boolean;
}

/** Resolves with true if nothing is damaged. Throws MKTS_LOG_UNKNOWN or StorageError. */
export async function runWal({ path, timezone, json }: WalCommand): Promise<boolean> {
  const options = { path: resolve(path), filesystem: realFilesystem, zone: zoneOf(timezone) };
  let damaged = 0;
  for (const item of describeLog(options)) {
    if (item.type === 'damage') damaged++;
    await print(json ? [JSON.stringify(plain(item))] : linesOf(item));
  }
  return damaged === 0;
}

function plain(item: LogItem): unknown {
  if (item.type !== 'record') return item;
  const { sequence, parts, ...record } = item;
  return {
    ...record,
    ...(sequence === undefined ? {} : { sequence: String(sequence) }),
    parts: parts.map(({ fromSeconds, toSeconds, ...part }) => ({
      ...part,
      ...(fromSeconds === undefined ? {} : { from: timeText(fromSeconds) }),
      ...(toSeconds === undefined ? {} : { to: timeText(toSeconds) }),
    })),
  };
}

function* linesOf(item: LogItem): Generator<string> {
  const path = relative('', item.path);
  switch (item.type) {
    case 'file':
      yield `${path}: ${item.format === 'mkts' ? 'a log of mkts' : 'a log of a Go server'}; ${item.says}`;
      return;
    case 'damage':
      yield `damage at ${item.offset} of ${path}: ${item.what}`;
      return;
    case 'end':
      yield `${path} ends at ${item.offset}: ${item.why}`;
      yield `${item.groups} groups, ${item.rows} rows; the next start applies ${item.waitingGroups} of the groups`;
      return;
    case 'record': {
      const sequence = item.sequence === undefined ? '' : ` ${item.sequence}`;
      const bytes = item.bytes === undefined ? '' : `, ${item.bytes} bytes`;
      yield `  ${item.offset}  ${item.kind}${sequence}${bytes}`;
      for (const part of item.parts) yield `      ${partText(part)}`;
    }
  }
}

function partText({ what, key, rows, fromSeconds, toSeconds, by }: LogPart): string {
  const times =
    fromSeconds === undefined || toSeconds === undefined
      ? ''
      : fromSeconds === toSeconds
        ? ` ${timeText(fromSeconds)}`
        : ` ${timeText(fromSeconds)} to ${timeText(toSeconds)}`;
  const count = rows === undefined ? '' : `${rows} `;
  const from = by === undefined ? '' : `, by ${by}`;
  return `${key === undefined ? '' : `${key}: `}${count}${what}${times}${from}`;
}
