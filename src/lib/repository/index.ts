/** The dual-pool repository library: what another service needs to write readings to both sides as sensorctl does. */
export { openDatabase, closeDatabase, type Database, type DatabaseOptions } from '../db/database.js';
export type { ConnectionSettings, SslMode } from '../db/connection.js';
export type { DeclaredTables, MessageSource, Row, Unit, Value, WriteRule } from '../domain/row.js';
export type { Side, WriteMode } from '../domain/side.js';
export { createLogger, type Logger } from '../logger.js';
export type { CommittedBatch } from './write/batch.js';
export type { Doubt, WriteRequest } from './write/divide-batch.js';
export { DualWriteRepository, type DualWriteOptions } from './dual-write-repository.js';
export type { QuarantineFault, QuarantineRecord } from './ledger/quarantine.js';
export type { RetryPolicy } from './write/send-batch.js';
export type { SendOutcome } from './write/settle.js';
