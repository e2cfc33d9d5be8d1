import { formatInstant } from '../domain/time.js';

export const BANGKOK_OFFSET_MS = 7 * 3_600_000;
const WATER_SENSORS = 160;

/** A water-level sensor of the generated telemetry. */
export interface WaterSensor {
  readonly id: string;
  readonly mac: string;
  readonly lat: number;
  readonly lng: number;
  /** A device clock in seconds counts in steps of 1000. */
  readonly tickMs: number;
  readonly level: number;
  lastTimeMs: number;
}

/** Where and when (in milliseconds since 1970) generated messages arise. */
export interface Scene {
  readonly random: () => number;
  readonly sensors: readonly WaterSensor[];
  nowMs: number;
}

/** The water-level sensors, some with a clock that counts seconds. */
export function createSensors(random: () => number): WaterSensor[] {
  return Array.from({ length: WATER_SENSORS }, (_, index) => createSensor(index, random));
}

/** The fields that every message has, received now. */
export function createEnvelope(scene: Scene, sensorType: string, sensorId: string) {
  return { timestamp: receiptText(scene), tokenGroup: `${sensorType}-munbon`, sensorType, sensorId };
}

export function receiptText(scene: Scene): string {
  return `${formatInstant(scene.nowMs * 1000).slice(0, 23)}Z`;
}

/** Device date and time, `2025/07/01` and `08:00:00`. */
export function clockTexts(epochMs: number): { readonly date: string; readonly time: string } {
  const text = formatInstant(epochMs * 1000);
  return { date: text.slice(0, 10).replaceAll('-', '/'), time: text.slice(11, 19) };
}

export function integer(random: () => number, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

export function decimals(number: number, places: number): number {
  return Number(number.toFixed(places));
}

export function pick<T>(random: () => number, items: readonly T[]): T {
  const item = items[integer(random, 0, items.length - 1)];
  if (item === undefined) throw new RangeError('nothing to pick from');
  return item;
}

function createSensor(index: number, random: () => number): WaterSensor {
  const suffix = (0x1000 + index * 353).toString(16).toUpperCase();
  return {
    id: `AWD-${suffix}`,
    mac: `AWDN_16A6AE7B${suffix}`,
    lat: decimals(13 + random() * 4, 6),
    lng: decimals(100 + random() * 5, 6),
    tickMs: index % 32 === 0 ? 1000 : 1,
    level: -integer(random, 3, 25),
    lastTimeMs: 0,
  };
}
