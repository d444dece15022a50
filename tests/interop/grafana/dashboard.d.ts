// What a dashboard is, by the types that Grafana publishes of itself. `@grafana/schema` is the version under test.
import type * as schema from '@grafana/schema';
import type * as barGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as prometheus from '@grafana/schema/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Words of enums stand in JSON as strings.
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends Array<infer Item>
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Json<T[Key]> }
        : T;

type Query = Json<prometheus.PrometheusDataQuery> & { datasource: { type: 'prometheus'; uid: string } };

// Options that are left out have defaults, and new versions have new ones.
type Visual<Name extends string, Options, Custom> = Json<Omit<schema.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
  type: Name;
  title: string;
  description: string;
  targets: Query[];
  options: Partial<Json<Options>>;
  fieldConfig: {
    defaults: Json<Omit<schema.FieldConfig, 'custom'>> & { custom?: Partial<Json<Custom>> };
    overrides: Json<schema.FieldConfigSource['overrides']>;
  };
};

export type Row = Json<schema.RowPanel>;
export type Panel =
  | Visual<'bargauge', barGauge.Options, {}>
  | Visual<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Visual<'stat', stat.Options, {}>
  | Visual<'table', table.Options, table.FieldConfig>
  | Visual<'timeseries', timeSeries.Options, timeSeries.FieldConfig>;
export type PanelOf<Name extends Panel['type']> = Extract<Panel, { type: Name }>;

// `definition` is what the editor shows of a query.
export type Variable = Json<schema.VariableModel> & { definition?: string };

// What Grafana's own datasource keeps of an annotation, and Prometheus' (public/app/plugins/datasource/prometheus).
export type Annotation = Json<schema.AnnotationQuery> & { expr?: string; step?: string; titleFormat?: string };

export type Frame = Omit<Json<schema.Dashboard>, 'panels' | 'templating' | 'annotations'>;
