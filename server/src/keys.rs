//! The master key: where it comes from, and that it is the one this database was sealed with (KEY-05).

use domain::{
    Rng,
    sealer::{self, MasterKey, Sealer},
};
use secrecy::ExposeSecret as _;
use store::Db;

use crate::{config::Config, serve::private_folder};

const CHECK: &str = "master key check value";

/// The sealer of this instance. A key file is made beside an `SQLite` database that has none.
pub fn sealer(config: &Config, rng: &dyn Rng) -> Result<Sealer, String> {
    if let Some(text) = &config.master_key {
        let key =
            MasterKey::parse(text.expose_secret()).map_err(|why| format!("GATEHOUSE_MASTER_KEY: {why}"))?;
        return Ok(Sealer::new(key));
    }
    let path =
        config.master_key_file.as_deref().ok_or("set GATEHOUSE_MASTER_KEY or GATEHOUSE_MASTER_KEY_FILE")?;
    if !config.may_make_key_file {
        return sealer::load_key_file(path)
            .map(Sealer::new)
            .map_err(|why| format!("GATEHOUSE_MASTER_KEY_FILE: {why}"));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder(folder)?;
    }
    let (key, _) = sealer::load_or_create_key_file(path, rng)
        .map_err(|why| format!("GATEHOUSE_MASTER_KEY_FILE: {why}"))?;
    Ok(Sealer::new(key))
}

/// Refuses a database that was sealed with another key; a new database remembers this one.
pub async fn check(db: &Db, sealer: &Sealer) -> Result<(), String> {
    let wrong = |why: store::Error| format!("the database could not be asked for its master key: {why}");
    let mut tx = db.write().await.map_err(wrong)?;
    store::instance_facts::insert_once(&mut tx, CHECK, &sealer.check_value()).await.map_err(wrong)?;
    let stored = store::instance_facts::find(&mut tx, CHECK).await.map_err(wrong)?.unwrap_or_default();
    if !sealer.check(&stored) {
        return Err("this database was sealed with another master key: give GATEHOUSE_MASTER_KEY or GATEHOUSE_MASTER_KEY_FILE the key it was made with".into());
    }
    tx.commit().await.map_err(wrong)
}
